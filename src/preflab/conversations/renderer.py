"""Prompts and completions as token ids, and token ids as text: the one renderer of training, sampling and judging.

    plain text     [BOS] prompt | completion end           the end is the tokenizer's end token
    conversation   template up to where the assistant speaks | what the template writes for its turn, its end included

Prompt and completion are tokenized apart; what was sampled is never rendered again. Text that spells a special token is
text (`marks`), but for a BOS that a plain prompt begins with and an end that a plain completion brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from preflab.conversations.edges import Edges
from preflab.conversations.frames import Frames
from preflab.conversations.joining import Ids, Joining, decode
from preflab.conversations.losses import Losses
from preflab.conversations.marks import BREAK
from preflab.conversations.spelling import Spelling
from preflab.conversations.template import Template, where
from preflab.conversations.thinking import MARK
from preflab.conversations.turn_ends import Frame
from preflab.conversations.turns import Opens, Turns
from preflab.errors import PreflabError
from preflab.models.facts import stop_token_ids
from preflab.records import Completion, Message, Prompt, Span
from preflab.training.batches import TokenSequence

MOST_TEXTS = 4096
"""Prompts whose text is kept."""


class Renderer:
    """A tokenizer with its chat template, and what stops the sampler.

    Args:
        tokenizer: the model's tokenizer.
        stops: tokens that stop the sampler, as the model's configuration names them; the tokenizer's end token and
            the ends of the template's turns join them.
        instead: tokens that a recipe names as stops; the sampler then stops at these alone.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[int] = (), instead: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.template, self.joining = Template(tokenizer), Joining(tokenizer)
        eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self.configured = tuple(sorted({*stops, *eos}))
        self.instead = tuple(instead)
        self._losses = Losses(self.template)
        self._spelling = Spelling(self.template, self.joining.marks, lambda: self.stop_token_ids)
        self._frames = Frames(self.template, self.joining, self.configured)
        self._openings: dict[str, tuple[str, Turns]] = {}

    @classmethod
    def of(cls, model: Any, tokenizer: Any, instead: Sequence[int] = ()) -> Renderer:
        """The renderer of a loaded model."""
        return cls(tokenizer, stop_token_ids(model, tokenizer), instead)

    @cached_property
    def frame(self) -> Frame | None:
        """What the template writes around an answer to a user's turn; None without a template."""
        return self._frames.default if self.template.exists else None

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion: the configuration's, the tokenizer's, and the ends of the template's turns."""
        return self._frames.stop_ids if self.template.exists else self.configured

    def _ended(self, ids: Ids) -> bool:
        return bool(ids) and (ids[-1] in self.stop_token_ids or ids[-1] in self.instead)

    def turns_after(self, prompt: Prompt) -> Turns:
        """Turns of the assistant as the template writes them after a prompt."""
        return self._opening(prompt)[1]

    def _turns(self, prompt: Prompt, opened: str | None) -> Turns:
        frame = self._frames.after(prompt, opened)
        return Turns(self.joining, frame, self.stop_token_ids, self.template, self._losses)

    def prompt_ids(self, prompt: Prompt) -> Ids:
        """What the model reads before it writes; no end token, and never two BOS.

        Plain text begins with BOS where the tokenizer puts one. A conversation is what the chat template makes of it,
        up to where the assistant speaks; the template alone says whether it begins with BOS.

        Raises:
            PreflabError: a conversation without a chat template, a template that refuses it or leaves a turn out, or
                no tokens at all.
        """
        ids = self.joining.ids(self._opened(prompt)) if prompt.messages else self._with_its_start(self._plain(prompt))
        bos = self.tokenizer.bos_token_id
        while bos is not None and ids[:2] == (bos, bos):
            ids = ids[1:]
        if not ids:
            raise PreflabError(
                f"{where(prompt)}: no tokens",
                "a prompt with at least one token",
                "give it a text, or use a tokenizer that adds a BOS token",
            )
        return ids

    def completion_ids(self, prompt: Prompt, text: str, *, ended: bool = True) -> Ids:
        """Tokens of a completion of one text: what follows the prompt, up to and including the end where it `ended`.

        Raises:
            PreflabError: the template cannot write it, or there is no token that ends it.
        """
        if not prompt.messages:
            end = self.tokenizer.eos_token or ""
            brought = end if end and text.endswith(end) else ""
            spelled = self._spelling.plain(prompt, text.removesuffix(brought)) + brought
            ids = self.joining.continued(self._plain(prompt), spelled)
            if not ended:
                return ids
            return ids if ids[-1:] == (self.end_id,) else (*ids, self.end_id)
        return self._turn_ids(prompt, Message("assistant", text), ended)

    def sequence(self, prompt: Prompt, completion: Completion) -> TokenSequence:
        """Prompt and completion as the trainer sees them; of several turns, those the policy wrote are marked.

        Tokens that were sampled with this tokenizer are taken as they are, their end as the template has it. Of a text
        without a prompt, where the tokenizer puts no BOS, the first token is read and the others are the completion.
        """
        ended = completion.finish_reason != "length"
        if not (prompt.text or prompt.messages or completion.turns or self._with_its_start("")):
            whole = self.completion_ids(prompt, completion.text, ended=ended)
            return TokenSequence(whole[:1], whole[1:])
        ids = self.prompt_ids(prompt)
        if self.spells(prompt, completion):
            return TokenSequence(ids, self.closed(prompt, completion.token_ids))
        if not completion.turns:
            return TokenSequence(ids, self.completion_ids(prompt, completion.text, ended=ended))
        if len(completion.spans) == 1 and completion.spans[0].by_policy:
            return TokenSequence(ids, self._turn_ids(prompt, completion.turns[0], ended))
        spans, spelled = self._spans(prompt, completion.spans), self._spelling.prompt(prompt)
        written, mask = self.turns_after(prompt).several(spelled, self._opens(spelled), spans, ended=ended)
        return TokenSequence(ids, written, mask)

    def scored(self, prompt: Prompt, completion: Completion) -> TokenSequence:
        """`sequence` of what a policy wrote, for whoever judges it: words that the template would refuse or change, and
        words that spell a special token, stand letter for letter between what it writes around an answer."""
        try:
            return self.sequence(prompt, completion)
        except PreflabError:
            ids, ended = self.prompt_ids(prompt), completion.finish_reason != "length"
            answers = bool(prompt.messages) and prompt.messages[-1].role != "assistant" and not completion.turns
            turns = self.turns_after(prompt) if answers and self.frame else None
            written = turns.verbatim(self._spelling.answer(prompt, completion.text), ended=ended) if turns else None
            if written is None:
                raise
            return TokenSequence(ids, written)

    def answer_ids(self, prompt: Prompt, text: str) -> Ids:
        """Tokens of an answer without thinking, its end left open; thinking that the template opens is closed first."""
        if self.opens_thinking(prompt):
            spelled = self._spelling.text(prompt, text)
            return self.turns_after(prompt).without_thinking(self._opened(prompt), spelled)
        return self.completion_ids(prompt, text, ended=False)

    @property
    def closes_thinking(self) -> bool:
        """Whether `answer_ids` closes thinking that the generation prompt opens by itself."""
        return bool(self.frame and self.frame.opener)

    def opens_thinking(self, prompt: Prompt) -> bool:
        """Whether the generation prompt opens thinking after a conversation, which `answer_ids` closes."""
        return bool(prompt.messages and self.frame and self.turns_after(prompt).frame.opener)

    def dialogue(
        self, prompt: Prompt, turns: Sequence[Message], first: int, learned: Sequence[bool], *, ended: bool = True
    ) -> TokenSequence:
        """A whole conversation in one sequence, of which the marked turns are learned, from the turn `first` on.

        Where its last turn was cut (not `ended`), that turn's end is left open.

        Raises:
            Unstable: the chat template writes earlier turns anew when others follow.
        """
        opening = replace(prompt, id=f"{prompt.id}/0-{first}", messages=tuple(turns[:first]))
        spans = [Span.of_turn(turn, by_policy=learned[place]) for place, turn in enumerate(turns) if place >= first]
        spelled = self._spelling.prompt(opening)
        ids, mask = self.turns_after(opening).several(
            spelled, self._opens(spelled), self._spans(prompt, spans), in_one_piece=True, ended=ended
        )
        return TokenSequence(self.prompt_ids(opening), ids, mask)

    def _turn_ids(self, prompt: Prompt, turn: Message, ended: bool) -> Ids:
        spelled, turn, prefix = self._spelling.prompt(prompt), self._spelling.turn(prompt, turn), self._opened(prompt)
        if prompt.messages[-1].role == "assistant":
            return self.turns_after(prompt).continuing(spelled, prefix, turn, ended=ended)
        return self.turns_after(prompt).ids(spelled, spelled.messages, prefix, turn, ended=ended)

    def _spans(self, prompt: Prompt, spans: Sequence[Span]) -> list[Span]:
        """Stretches of a completion as whole turns, what they spell as text."""
        turns = [span.message or Message(span.role, span.text) for span in spans]
        turns = [self._spelling.turn(prompt, turn) for turn in turns]
        return [Span.of_turn(turn, by_policy=span.by_policy) for span, turn in zip(spans, turns, strict=True)]

    def decode(self, ids: Sequence[int], prompt: Prompt | None = None) -> str:
        """`text` of a completion of a prompt; without a prompt, the text of some tokens by themselves."""
        return decode(self.tokenizer, ids) if prompt is None else self.text(prompt, ids)

    def spells(self, prompt: Prompt, completion: Completion) -> bool:
        """Whether a completion's token ids are this tokenizer's for its text.

        Records of earlier versions hold all that was sampled but for special tokens as their text.
        """
        ids = completion.token_ids
        if not ids or completion.turns or max(ids) >= len(self.tokenizer):
            return False
        plain = tuple(token for token in ids if token not in self.joining.special_ids or token in self.stop_token_ids)
        return completion.text in (self.text(prompt, ids), self.text(prompt, plain), decode(self.tokenizer, ids))

    def closed(self, prompt: Prompt, ids: Ids) -> Ids:
        """Sampled tokens with the end that the template writes, whichever stop token the sampler drew.

        Reward models read completions so: text and tokens of one completion are the same to them.
        """
        if not self._ended(ids):
            return ids
        if not prompt.messages or self.frame is None:
            return (*ids[:-1], self.end_id)
        return self.turns_after(prompt).closed(ids)

    def text(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The words of a sampled completion, without its end and without what the template writes around them.

        Letter for letter what follows a text prompt, where the tokenizer allows it (`joining`). Tags of thinking that
        are special tokens are written out in a turn.
        """
        ids = tuple(ids)
        if not prompt.messages or self.frame is None:
            return self.joining.text(ids[:-1] if self._ended(ids) else ids)
        return self.turns_after(prompt).words(
            ids, ended=self._ended(ids), continues=prompt.messages[-1].role == "assistant"
        )

    def loses_marks(self, ids: Sequence[int]) -> bool:
        """Whether `text` leaves out special tokens within the words of a turn: they would not come back from text."""
        if self.frame is None:
            return False
        lead = Edges(self.joining, self.frame, self.stop_token_ids).lead_ids
        words = ids[len(lead) :] if tuple(ids[: len(lead)]) == lead else ids
        return self.joining.loses_marks(words, self._spelling.of_thinking, self._outside)

    @property
    def _outside(self) -> frozenset[int]:
        """Tokens that are no part of words: stops, and those that begin and fill rows."""
        return self.joining.outer_ids.union(self.stop_token_ids)

    @property
    def end_id(self) -> int:
        """The token that ends a completion of plain text, and turns whose template writes no end.

        Raises:
            PreflabError: the tokenizer has none.
        """
        if self.tokenizer.eos_token_id is None:
            raise PreflabError(
                "the tokenizer has no end-of-sequence token (eos_token)",
                "one, so that completions can end",
                'add "eos_token" to tokenizer_config.json in the model folder',
            )
        return int(self.tokenizer.eos_token_id)

    def _opened(self, prompt: Prompt) -> str:
        return self._opening(prompt)[0]

    def _opening(self, prompt: Prompt) -> tuple[str, Turns]:
        """A conversation up to where the assistant speaks, and what writes its turn there; kept, since the completions
        of a prompt follow one another."""
        if prompt.id not in self._openings:
            if len(self._openings) >= MOST_TEXTS:
                self._openings.clear()
            spelled = self._spelling.prompt(prompt)
            if prompt.messages[-1].role == "assistant":
                self._openings[prompt.id] = self._continued_text(spelled), self._turns(spelled, None)
            else:
                opening = self._opens(spelled)(spelled.messages)
                self._losses.refuse(spelled, spelled.messages, opened=True)
                self._openings[prompt.id] = opening
        return self._openings[prompt.id]

    def _opens(self, prompt: Prompt) -> Opens:
        """What opens the assistant's turns after turns of a conversation that begins with a prompt."""

        def opening(before: Sequence[Message]) -> tuple[str, Turns]:
            text = self.template.text(before, prompt, opened=True)
            turns = self._turns(replace(prompt, messages=tuple(before)), text)
            return text + turns.frame.header, turns

        return opening

    def _continued_text(self, prompt: Prompt) -> str:
        """A conversation that ends within the assistant's turn, up to its last word."""
        turn = prompt.messages[-1]
        if not prompt.columns.get("continue_final_message"):
            raise PreflabError(
                f"{where(prompt)}: the conversation ends with the assistant's turn",
                "a conversation that ends with the user's or a tool's turn",
                "take the answer off, or set continue_final_message: true in the row if it is to be continued",
            )
        marked = replace(turn, content=turn.content + MARK)
        text = self.template.text([*prompt.messages[:-1], marked], prompt, opened=False).rpartition(MARK)[0]
        if not text.endswith(turn.content.lstrip()):
            raise PreflabError(
                f"{where(prompt)}: the chat template changes the assistant's turn that is to be continued",
                "a template that writes it as it is",
                "take the assistant's turn off the prompt",
            )
        self._losses.refuse(prompt, prompt.messages, opened=False)
        return text

    def _plain(self, prompt: Prompt) -> str:
        """A plain prompt in which all that spells a special token is text, but for a BOS at its beginning."""
        bos = self.tokenizer.bos_token or ""
        brought = bos if bos and prompt.text.startswith(bos) else ""
        return brought + self._spelling.plain(prompt, prompt.text.removeprefix(brought))

    def _with_its_start(self, text: str) -> Ids:
        """Tokens of a text with the special ones that the tokenizer puts before it, without those it puts after it."""
        if BREAK in text:
            return (*self._with_its_start("a")[: -len(self.joining.ids("a"))], *self.joining.ids(text))
        plain, full = self.joining.ids(text), tuple(self.tokenizer(text)["input_ids"])
        if not plain:
            return full[:1] if full[:1] == (self.tokenizer.bos_token_id,) else ()
        for start in range(len(full) - len(plain) + 1):
            if full[start : start + len(plain)] == plain:
                return full[: start + len(plain)]
        return full


def name_stops(model: Any, tokenizer: Any) -> None:
    """Let a model's generation configuration name all tokens that end its turns, for whoever opens it elsewhere."""
    stops = Renderer.of(model, tokenizer).stop_token_ids
    if stops and getattr(model, "generation_config", None) is not None:
        model.generation_config.eos_token_id = list(stops) if len(stops) > 1 else stops[0]
