"""Convert turns of the assistant to token ids: the template's text after the generation prompt, up to the turn's end.

If a template rewrites earlier turns once others follow, several turns cannot form one sequence, which raises an error.
If it removes thinking from an answer to learn, the answer is written here in the form that the model would write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from preflab.conversations.edges import Edges
from preflab.conversations.joining import Ids
from preflab.conversations.lost_calls import ending_with_mark, find_lost_calls
from preflab.conversations.lost_parts import Losses
from preflab.conversations.marks import without_breaks
from preflab.conversations.template import Template, where
from preflab.conversations.thinking import CLOSING, MARK, NO_THINKING, OPENING, THINKING_TAGS, continuation
from preflab.errors import PreflabError
from preflab.records import Message, Prompt, Span

THOUGHT = re.compile(rf"\s*({OPENING})(.*?)({CLOSING})", re.DOTALL)
"""Thinking at the beginning of an answer: opening tag, thinking, closing tag."""
THINKS = re.compile(rf"\s*({OPENING})")
"""The opening tag of thinking, which may have been cut before its closing tag."""


Opens = Callable[[Sequence[Message]], tuple[str, "Turns"]]
"""Gives the text of turns up to the assistant's words, and the object that writes the assistant's turn there."""


class Unstable(PreflabError):
    """Several turns cannot form one sequence: the template rewrites earlier turns when others follow."""


@dataclass(frozen=True)
class Turns(Edges):
    """Converts an assistant's turns to tokens, and tokens to words."""

    template: Template
    losses: Losses

    def ids(self, prompt: Prompt, before: Sequence[Message], prefix: str, turn: Message, *, ended: bool = True) -> Ids:
        """Tokens of a turn after `prefix`, the text of the turns `before` it up to the assistant's words.

        A turn that was cut by the length limit (`ended` is False) gets no end mark.
        """
        thinking = "" if ended else self._cut_thinking(turn)
        if thinking:
            self._refuse_ends_inside(prompt, turn)
            return self.joining.continued(prefix, thinking)
        return self._tokens(prompt, prefix, self.text(prompt, before, prefix, turn), turn, ended)

    def _cut_thinking(self, turn: Message) -> str:
        """The text of a turn that was cut within its thinking; "" for other turns."""
        form = self.form
        if form is None:
            return ""
        if turn.reasoning and not turn.content.strip() and not turn.tool_calls:
            return self.after_opener(form.opening + turn.reasoning)
        is_cut = THINKS.match(turn.content) and not THOUGHT.match(turn.content)
        return self.after_opener(turn.content) if is_cut else ""

    def text(self, prompt: Prompt, before: Sequence[Message], prefix: str, turn: Message) -> str:
        """The text of the turn after `prefix`: lead, words, close, and the template's text after the close.

        Raises:
            PreflabError: the template refuses the turn, loses part of it, or changes the text before it.
        """
        self._refuse_ends_inside(prompt, turn)
        if self.brings_lead(turn):
            return self.with_end(turn.content + self.frame.rest, turn)
        whole = self.template.text([*before, turn], prompt, opened=False)
        self.losses.refuse(prompt, [*before, turn], opened=False, since=len(before))
        text = continuation(prefix, whole)
        thinks = bool(turn.reasoning or THOUGHT.match(turn.content))
        if self.frame.closed and any(thought.strip() for thought in self._thoughts(turn)):
            self._refuse_form(prompt, turn)
        if self.frame.opener and self._is_unclosed(turn):
            self._refuse_form(prompt, turn)
        if text is None and not thinks:
            text = self._text_by_frame(turn, whole) or self._text_after_header(prompt, before, prefix, turn, whole)
        if text is None or (thinks and self._lacks_thinking(turn, text)):
            text = self._with_thinking(prompt, turn)
        text = self.with_end(text, turn)
        self._refuse_lost(
            prompt, turn, self.until_end(text), lambda other: self._try_text(prompt, before, prefix, other)
        )
        return text

    def _try_text(self, prompt: Prompt, before: Sequence[Message], prefix: str, turn: Message) -> str | None:
        """The template's text of a turn up to its end; None if it refuses the turn."""
        try:
            text = continuation(prefix, self.template.text([*before, turn], prompt, opened=False))
        except PreflabError:
            return None
        return None if text is None else self.until_end(self.with_end(text, turn))

    def _text_by_frame(self, turn: Message, whole: str) -> str | None:
        """The text of a turn with the usual frame, if the template changes only earlier turns (for example a system
        turn that it writes only if the user's turn is the last)."""
        written = turn.content.strip() + self.frame.rest
        if self.frame.lead is None or turn.tool_calls or not whole.endswith(written):
            return None
        return self.frame.lead + written

    def _text_after_header(
        self, prompt: Prompt, before: Sequence[Message], prefix: str, turn: Message, whole: str
    ) -> str | None:
        """The text of a turn with tool calls after the header of the generation prompt, if the template changes earlier
        turns (for example a tool's result that it closes differently at the end of the conversation)."""
        closed = self.template.text(before, prompt, opened=False)
        header = prefix.removeprefix(closed)
        if not turn.tool_calls or not header.strip() or header == prefix or whole.count(header) != prefix.count(header):
            return None
        return whole.rpartition(header)[2]

    def without_thinking(self, prefix: str, words: str) -> Ids:
        """Tokens of an answer without an end, after closing the thinking that `prefix` opens."""
        opener = self.frame.opener
        closing = THINKING_TAGS[opener.strip()]
        return self.joining.continued(prefix, f"{opener[len(opener.rstrip()) :]}{closing}\n\n{words}")

    def continuing(self, prompt: Prompt, prefix: str, turn: Message, *, ended: bool = True) -> Ids:
        """Tokens of the words that continue an assistant's turn at the end of the prompt."""
        begun = prompt.messages[-1]
        if turn != Message("assistant", turn.content):
            raise PreflabError(
                f"{where(prompt)}: a turn that is to be continued by thinking or by calls of tools",
                "words that continue the assistant's turn",
                "remove the assistant's turn from the prompt",
            )
        self._refuse_ends_inside(prompt, turn)
        joined = replace(begun, content=begun.content + turn.content)
        whole = self.template.text([*prompt.messages[:-1], joined], prompt, opened=False)
        if not whole.startswith(prefix):
            raise PreflabError(
                f"{where(prompt)}: the chat template changes the assistant's turn when it is continued",
                "a template that writes it unchanged",
                "remove the assistant's turn from the prompt",
            )
        return self._tokens(prompt, prefix, whole[len(prefix) :], turn, ended)

    def several(
        self,
        prompt: Prompt,
        opens: Opens,
        spans: Sequence[Span],
        *,
        in_one_piece: bool = False,
        ended: bool = True,
    ) -> tuple[Ids, tuple[bool, ...]]:
        """Tokens of a completion of several turns, and a mask of the tokens that the policy wrote (and has to learn).

        Each turn keeps the form in which the model wrote it, even if the template would rewrite it once others follow;
        the text between turns is the template's. With `in_one_piece` such rewriting is refused instead. If the last
        turn was cut (`ended` is False), it gets no end.

        Raises:
            Unstable: the template rewrites earlier turns and `in_one_piece` is set, or the text between turns cannot be
                found.
        """
        turns = [span.message or Message(span.role, span.text) for span in spans]
        for place, edge, do in ((-1, "ends", "remove the last turns"), (0, "begins", "move them into the prompt")):
            if turns[place].role != "assistant":
                raise PreflabError(
                    f"{where(prompt)}: a completion that {edge} with the {turns[place].role}'s turn",
                    f"a completion that {edge} with the assistant's turn",
                    do,
                )
        before, now = [*prompt.messages], self
        opened, _ = opens(before)
        so_far = opened
        ids: list[int] = []
        mask: list[bool] = []
        for number, (span, turn) in enumerate(zip(spans, turns, strict=True)):
            if turn.role == "assistant":
                if number:
                    opened, following = opens(before)
                    self.losses.refuse(prompt, before, opened=True, since=len(prompt.messages))
                    if in_one_piece and (now.frame.end_id is None or not opened.startswith(so_far)):
                        raise _unstable(prompt)
                    between = now._between(prompt, before, turns[:number], so_far, opens)
                    now = following
                    ids += (added := self.joining.continued(so_far, between))
                    mask += [False] * len(added)
                    so_far += between
                text = now.text(prompt, before, opened, turn)
                is_open = not ended and number == len(spans) - 1
                ids += (turn_ids := now._tokens(prompt, so_far, text, turn, not is_open))
                mask += [span.by_policy] * len(turn_ids)
                so_far += now.until_end(text)
            before.append(turn)
        return tuple(ids), tuple(mask)

    def _between(
        self, prompt: Prompt, before: Sequence[Message], done: Sequence[Message], so_far: str, opens: Opens
    ) -> str:
        """The template's text between the end of the assistant's last turn and its next turn."""
        opened, _ = opens(before)
        if opened.startswith(so_far):
            return opened[len(so_far) :]
        place = len(prompt.messages) + max(i for i, turn in enumerate(done) if turn.role == "assistant")
        marked = [*before]
        marked[place] = ending_with_mark(marked[place])
        alone = self.template.text(marked[: place + 1], prompt, opened=False).rpartition(MARK)[2]
        _, mark, after = opens(marked)[0].rpartition(MARK)
        ends = (self.until_end(self.with_end(alone, marked[place])), self.until_end(alone))
        end = next((end for end in ends if after.startswith(end)), None)
        if not mark or end is None:
            raise _unstable(prompt)
        return after[len(end) :]

    def _tokens(self, prompt: Prompt, prefix: str, text: str, turn: Message, ended: bool) -> Ids:
        if not ended:
            return self.joining.continued(prefix, self.without_end(text, turn))
        ids = self.joining.continued(prefix, text)
        end = next((place for place, token in enumerate(ids) if token in self.stops), None)
        if end is not None:
            return ids[: end + 1]
        if self.joining.tokenizer.eos_token_id is None:
            raise PreflabError(
                f"{where(prompt)}: the chat template ends no turn, and the tokenizer has no end-of-sequence token",
                "one of the two, so that completions can end",
                'add "eos_token" to tokenizer_config.json in the model folder',
            )
        return (*self.joining.continued(prefix, self.until_end(text)), int(self.joining.tokenizer.eos_token_id))

    def _lacks_thinking(self, turn: Message, text: str) -> bool:
        """Whether the turn's thinking is missing from the template's text."""
        thought_in_words = THOUGHT.match(turn.content)
        twice = thought_in_words is not None and bool(NO_THINKING.match(text))
        return twice or any(thought.strip() and thought.strip() not in text for thought in self._thoughts(turn))

    def _is_unclosed(self, turn: Message) -> bool:
        """Whether the words of a turn begin with thinking that is not closed."""
        return bool(THINKS.match(turn.content)) and not THOUGHT.match(turn.content)

    def _thoughts(self, turn: Message) -> tuple[str, str]:
        """The turn's thinking: from `reasoning`, and from the beginning of its words."""
        thought = THOUGHT.match(turn.content)
        return turn.reasoning, thought[2] if thought else ""

    def _with_thinking(self, prompt: Prompt, turn: Message) -> str:
        """The text of a turn whose thinking the template removes, in the model's form: thinking, words, close."""
        opener, words = self.frame.opener, turn.content.lstrip()
        if turn.reasoning and self.form:
            words, fits = self.form.written(turn.reasoning.strip(), words), True
        else:
            thought = THOUGHT.match(words)
            fits = thought is not None and (thought[1] == opener.strip() if opener else self.frame.lead is not None)
            if self.form and not opener:
                words = self.form.lead + words
        if turn.tool_calls or self.frame.closed or not fits:
            self._refuse_form(prompt, turn)
        return self.after_opener(words) + self.frame.rest

    def _refuse_form(self, prompt: Prompt, turn: Message) -> None:
        thinks = bool(turn.reasoning or THOUGHT.match(turn.content))
        if self.frame.closed and thinks:
            problem = "the generation prompt of the chat template closes thinking, and the completion thinks"
        elif self._is_unclosed(turn):
            problem = "the completion opens thinking and does not close it"
        elif thinks:
            problem = "the chat template does not write the completion's thinking"
        elif self.frame.opener:
            opener = self.frame.opener.strip()
            problem = f"the chat template opens {opener} before the assistant speaks, and the completion does not think"
        else:
            problem = "the chat template's turns do not continue its generation prompt"
        raise PreflabError(
            f"{where(prompt)}: {problem}",
            "completions in the form of the model's own turns",
            "use thinking only where the model thinks, or switch it in the template (a column "
            'chat_template_kwargs such as {"enable_thinking": false}); else leave the row out',
        )

    def _refuse_ends_inside(self, prompt: Prompt, turn: Message) -> None:
        """Refuse a turn whose words contain the text of a token that ends turns: the turn would be cut there."""
        parts = [turn.content, turn.reasoning, *(call.arguments for call in turn.tool_calls)]
        inside = next((mark for mark in self.marks if any(mark in part for part in parts)), None)
        if inside is not None:
            raise PreflabError(
                f"{where(prompt)}: a completion contains the text {inside!r}, which ends the assistant's turn",
                "words without marks of turns: the chat template adds them",
                "remove the mark from the row",
            )

    def _refuse_lost(self, prompt: Prompt, turn: Message, text: str, render: Callable[[Message], str | None]) -> None:
        """Refuse a turn if part of it comes after its end or was changed."""
        thought = THOUGHT.match(turn.content)
        words = turn.content[thought.end() :].strip() if thought else turn.content.strip()
        without_words = text.replace(words, "", 1) if words else text
        lost = find_lost_calls(turn, without_words, render)
        if words and words not in text:
            lost.insert(0, "all of the assistant's words")
        if lost:
            raise PreflabError(
                f"{where(prompt)}: the model's chat template does not write {without_breaks(lost[0])}",
                "a template that writes everything in the completion",
                "leave this row out, or use a model whose template supports it",
            )


def _unstable(prompt: Prompt) -> Unstable:
    return Unstable(
        f"{where(prompt)}: the chat template rewrites earlier turns of the completion when others follow",
        "a completion of one turn, or a template that leaves earlier turns unchanged",
        "split the row: one row per turn of the assistant",
    )
