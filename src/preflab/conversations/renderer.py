"""Convert prompts and completions to token ids and back; training, sampling and judging all use this renderer.

    plain text     [BOS] prompt | completion end           the end is the tokenizer's end token
    conversation   template up to the assistant's words | the template's text of the assistant's turn, end included

An encoder–decoder's prompt has every token that its encoder reads, and its completion starts anew (`separate_texts`).
Prompt and completion are tokenized separately, and sampled tokens are never rendered again. Text that spells a special
token stays text (`marks`), except a BOS at the start of a plain prompt and an end token at the end of a plain
completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from preflab.conversations.edges import Edges
from preflab.conversations.exchange import Exchange, refuse_apart
from preflab.conversations.frames import Frames
from preflab.conversations.joining import Ids, decode
from preflab.conversations.lost_parts import Losses
from preflab.conversations.separate_texts import joining_for
from preflab.conversations.spelling import Spelling
from preflab.conversations.template import Template, where
from preflab.conversations.thinking import MARK
from preflab.conversations.turn_ends import Frame
from preflab.conversations.turns import Opens, Turns
from preflab.errors import PreflabError
from preflab.models.facts import stop_token_ids
from preflab.models.kinds import reads_prompts_apart
from preflab.records import Completion, Message, Prompt, Span
from preflab.training.batches import TokenSequence

MOST_TEXTS = 4096
"""Most prompts whose rendered text is cached."""


class Renderer:
    """A tokenizer with its chat template and its stop tokens.

    Args:
        tokenizer: the model's tokenizer.
        stops: stop tokens of the model's configuration; the tokenizer's end token and the ends of the template's turns
            are added.
        instead: stop tokens given in a recipe; the sampler then stops only at these.
        apart: whether the model's encoder reads the prompt and its decoder writes the completion.
    """

    def __init__(
        self, tokenizer: Any, stops: Sequence[int] = (), instead: Sequence[int] = (), *, apart: bool = False
    ) -> None:
        self.tokenizer, self.apart = tokenizer, apart
        self.template, self.joining = Template(tokenizer), joining_for(tokenizer, apart=apart)
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
        return cls(tokenizer, stop_token_ids(model, tokenizer), instead, apart=reads_prompts_apart(model.config))

    @cached_property
    def frame(self) -> Frame | None:
        """The frame of an answer to a user's turn; None without a template."""
        return self._frames.default if self.template.exists else None

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion: the configuration's, the tokenizer's, and the ends of the template's turns."""
        return self._frames.stop_ids if self.template.exists else self.configured

    def _ended(self, ids: Ids) -> bool:
        return bool(ids) and (ids[-1] in self.stop_token_ids or ids[-1] in self.instead)

    def turns_after(self, prompt: Prompt) -> Turns:
        """The object that writes the assistant's turns after a prompt."""
        return self._opening(prompt)[1]

    def _turns(self, prompt: Prompt, opened: str | None) -> Turns:
        frame = self._frames.after(prompt, opened)
        return Turns(self.joining, frame, self.stop_token_ids, self.template, self._losses)

    def prompt_ids(self, prompt: Prompt) -> Ids:
        """Tokens of a prompt with at most one BOS; an end token only if an encoder is to read it.

        Plain text begins with BOS if the tokenizer adds one. A conversation is rendered by the chat template up to the
        assistant's words; only the template decides whether it begins with BOS.

        Raises:
            PreflabError: the prompt is a conversation but there is no chat template, the template refuses it or loses a
                turn, or there are no tokens.
        """
        ids = self.joining.ids(self._opened(prompt)) if prompt.messages else self.joining.start(self._plain(prompt))
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
        """Tokens of a completion of one text; if it `ended`, its end token is included.

        Raises:
            PreflabError: the template cannot write it, or there is no end token.
        """
        if not prompt.messages:
            end = self.tokenizer.eos_token or ""
            given_end = end if end and text.endswith(end) else ""
            spelled = self._spelling.plain(prompt, text.removesuffix(given_end)) + given_end
            ids = self.joining.continued(self._plain(prompt), spelled)
            if not ended:
                return ids
            return ids if ids[-1:] == (self.end_id,) else (*ids, self.end_id)
        return self._turn_ids(prompt, Message("assistant", text), ended)

    def sequence(self, prompt: Prompt, completion: Completion) -> TokenSequence:
        """Tokens of prompt and completion for training; in a completion of several turns a mask marks the policy's.

        Tokens sampled with this tokenizer are used unchanged, but with the template's end. For a text without a prompt
        and a tokenizer without BOS, the first token becomes the prompt and the others the completion.
        """
        ended = completion.finish_reason != "length"
        if not (prompt.text or prompt.messages or completion.turns or self.joining.start("")):
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
        """`sequence` for judging a policy's completion: words that the template would refuse or change, or that spell a
        special token, are put unchanged between the template's lead and close."""
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

    def exchange(self, prompt: Prompt) -> Exchange:
        """The turns after a prompt, for episodes in which another side answers the policy.

        Raises:
            PreflabError: the model's encoder reads the prompt, so that nothing can follow its completion; or the
                prompt is an assistant's turn to continue.
        """
        refuse_apart(self.apart)
        if prompt.messages and prompt.messages[-1].role == "assistant":
            raise PreflabError(
                f"{where(prompt)}: a prompt that ends within an answer, and an environment that answers",
                "a prompt that ends with the other side's turn, so that turns can follow",
                "use prompts without the assistant's turn",
            )
        spelled = self._spelling.prompt(prompt) if prompt.messages else prompt

        def break_marks(turn: Message) -> Message:
            if prompt.messages:
                return self._spelling.turn(prompt, turn)
            return replace(turn, content=self._spelling.plain(prompt, turn.content))

        return Exchange(
            spelled,
            self.joining,
            self._opens(spelled) if prompt.messages else None,
            break_marks,
            lambda token: self._ended((token,)),
            lambda token: token in self.stop_token_ids,
        )

    def answer_ids(self, prompt: Prompt, text: str) -> Ids:
        """Tokens of an answer without thinking and without an end; thinking opened by the template is closed first."""
        if self.opens_thinking(prompt):
            spelled = self._spelling.text(prompt, text)
            return self.turns_after(prompt).without_thinking(self._opened(prompt), spelled)
        return self.completion_ids(prompt, text, ended=False)

    @property
    def closes_thinking(self) -> bool:
        """Whether the generation prompt after a user's turn opens thinking, so that `answer_ids` closes it."""
        return bool(self.frame and self.frame.opener)

    def opens_thinking(self, prompt: Prompt) -> bool:
        """Whether the generation prompt after this prompt opens thinking, which `answer_ids` closes."""
        return bool(prompt.messages and self.frame and self.turns_after(prompt).frame.opener)

    def dialogue(
        self, prompt: Prompt, turns: Sequence[Message], first: int, learned: Sequence[bool], *, ended: bool = True
    ) -> TokenSequence:
        """A whole conversation as one sequence, in which the turns marked in `learned` are learned, from `first` on.

        If its last turn was cut (`ended` is False), that turn gets no end.

        Raises:
            Unstable: the chat template rewrites earlier turns when others follow.
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
        """The spans of a completion as whole turns, with breaks in their spellings of special tokens."""
        turns = [span.message or Message(span.role, span.text) for span in spans]
        turns = [self._spelling.turn(prompt, turn) for turn in turns]
        return [Span.of_turn(turn, by_policy=span.by_policy) for span, turn in zip(spans, turns, strict=True)]

    def decode(self, ids: Sequence[int], prompt: Prompt | None = None) -> str:
        """`text` of a completion of a prompt; without a prompt, the text of the tokens on their own."""
        return decode(self.tokenizer, ids) if prompt is None else self.text(prompt, ids)

    def spells(self, prompt: Prompt, completion: Completion) -> bool:
        """Whether a completion's token ids are this tokenizer's tokens of its text.

        Records of earlier versions have as their text all sampled tokens except special ones; they match too.
        """
        ids = completion.token_ids
        if not ids or completion.turns or max(ids) >= len(self.tokenizer):
            return False
        plain = tuple(token for token in ids if token not in self.joining.special_ids or token in self.stop_token_ids)
        return completion.text in (self.text(prompt, ids), self.text(prompt, plain), decode(self.tokenizer, ids))

    def closed(self, prompt: Prompt, ids: Ids) -> Ids:
        """Sampled tokens with the template's end in place of the stop token that was drawn.

        Reward models read completions in this form, so that text and tokens of a completion get the same score.
        """
        if not self._ended(ids):
            return ids
        if not prompt.messages or self.frame is None:
            return (*ids[:-1], self.end_id)
        return self.turns_after(prompt).closed(ids)

    def text(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The words of a sampled completion, without its end, lead and close.

        After a plain prompt it is exactly the text that follows, if the tokenizer allows it (`joining`). In a turn,
        tags of thinking are included even if they are special tokens.
        """
        ids = tuple(ids)
        if not prompt.messages or self.frame is None:
            return self.joining.text(ids[:-1] if self._ended(ids) else ids)
        return self.turns_after(prompt).words(
            ids, ended=self._ended(ids), continues=prompt.messages[-1].role == "assistant"
        )

    def loses_marks(self, ids: Sequence[int]) -> bool:
        """Whether `text` leaves out special tokens within the words of a turn, so that text cannot restore them."""
        if self.frame is None:
            return False
        lead = Edges(self.joining, self.frame, self.stop_token_ids).lead_ids
        words = ids[len(lead) :] if tuple(ids[: len(lead)]) == lead else ids
        return self.joining.loses_marks(words, self._spelling.of_thinking, self._outside)

    @property
    def _outside(self) -> frozenset[int]:
        """Tokens that are not part of words: stop tokens, BOS, EOS and padding."""
        return self.joining.outer_ids.union(self.stop_token_ids)

    @property
    def end_id(self) -> int:
        """The token that ends a plain completion, and turns for which the template writes no end.

        Raises:
            PreflabError: the tokenizer has no end token.
        """
        if self.tokenizer.eos_token_id is None:
            raise PreflabError(
                "the tokenizer has no end-of-sequence token (eos_token)",
                "an end token, so that completions can end",
                'add "eos_token" to tokenizer_config.json in the model folder',
            )
        return int(self.tokenizer.eos_token_id)

    def _opened(self, prompt: Prompt) -> str:
        return self._opening(prompt)[0]

    def _opening(self, prompt: Prompt) -> tuple[str, Turns]:
        """The text of a conversation up to the assistant's words, and the object that writes its turn there; cached,
        since the completions of a prompt are usually rendered one after another."""
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
        """A function that gives text and writer for the assistant's turn after the turns passed to it."""

        def opening(before: Sequence[Message]) -> tuple[str, Turns]:
            text = self.template.text(before, prompt, opened=True)
            turns = self._turns(replace(prompt, messages=tuple(before)), text)
            return text + turns.frame.header, turns

        return opening

    def _continued_text(self, prompt: Prompt) -> str:
        """The text of a conversation that ends within the assistant's turn, up to its last word."""
        turn = prompt.messages[-1]
        if not prompt.columns.get("continue_final_message"):
            raise PreflabError(
                f"{where(prompt)}: the conversation ends with the assistant's turn",
                "a conversation that ends with the user's or a tool's turn",
                "remove the answer, or set continue_final_message: true in the row if it is to be continued",
            )
        marked = replace(turn, content=turn.content + MARK)
        text = self.template.text([*prompt.messages[:-1], marked], prompt, opened=False).rpartition(MARK)[0]
        if not text.endswith(turn.content.lstrip()):
            raise PreflabError(
                f"{where(prompt)}: the chat template changes the assistant's turn that is to be continued",
                "a template that writes it unchanged",
                "remove the assistant's turn from the prompt",
            )
        self._losses.refuse(prompt, prompt.messages, opened=False)
        return text

    def _plain(self, prompt: Prompt) -> str:
        """A plain prompt with breaks in its spellings of special tokens, except a BOS at its beginning."""
        bos = self.tokenizer.bos_token or ""
        given_bos = bos if bos and prompt.text.startswith(bos) else ""
        return given_bos + self._spelling.plain(prompt, prompt.text.removeprefix(given_bos))


def name_stops(model: Any, tokenizer: Any) -> None:
    """Write all tokens that end the model's turns into its generation configuration, for use outside preflab."""
    stops = Renderer.of(model, tokenizer).stop_token_ids
    if stops and getattr(model, "generation_config", None) is not None:
        model.generation_config.eos_token_id = list(stops) if len(stops) > 1 else stops[0]
