"""Turns of the assistant as token ids: what the template writes after the generation prompt, up to the turn's end.

A template that rewrites earlier turns once others follow cannot give several of them in one piece; it is said so. Where
it takes thinking out of an answer that is to be learned, the answer is written as the model would write it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from preflab.conversations.edges import Edges
from preflab.conversations.joining import Ids
from preflab.conversations.losses import Losses
from preflab.conversations.lost_calls import ending_with_mark, lost_calls
from preflab.conversations.marks import without_breaks
from preflab.conversations.template import Template, where
from preflab.conversations.thinking import CLOSING, MARK, NO_THINKING, OPENING, THINKING_TAGS, continuation
from preflab.errors import PreflabError
from preflab.records import Message, Prompt, Span

THOUGHT = re.compile(rf"\s*({OPENING})(.*?)({CLOSING})", re.DOTALL)
"""Thinking at the beginning of an answer: its opening tag, the thinking, its closing tag."""
THINKS = re.compile(rf"\s*({OPENING})")
"""Thinking that may have been cut before it was closed."""


Opens = Callable[[Sequence[Message]], tuple[str, "Turns"]]
"""Gives the text of turns up to where the assistant speaks, and what writes its turn there."""


class Unstable(PreflabError):
    """Several turns cannot be written in one piece: the template writes earlier ones anew when others follow."""


@dataclass(frozen=True)
class Turns(Edges):
    """What writes an assistant's turns, and takes their words out of tokens."""

    template: Template
    losses: Losses

    def ids(self, prompt: Prompt, before: Sequence[Message], prefix: str, turn: Message, *, ended: bool = True) -> Ids:
        """Tokens of a turn after `prefix`, the text of the turns `before` it up to where the assistant speaks.

        Of a turn that has not `ended` (it was cut by its length) what was written, without a mark of the turn's end.
        """
        thinking = "" if ended else self._cut_thinking(turn)
        if thinking:
            self._refuse_ends_inside(prompt, turn)
            return self.joining.continued(prefix, thinking)
        return self._tokens(prompt, prefix, self.text(prompt, before, prefix, turn), turn, ended)

    def _cut_thinking(self, turn: Message) -> str:
        """What a turn holds that was cut while the assistant thought; "" for others."""
        form = self.form
        if form is None:
            return ""
        if turn.reasoning and not turn.content.strip() and not turn.tool_calls:
            return self.after_opener(form.opening + turn.reasoning)
        is_cut = THINKS.match(turn.content) and not THOUGHT.match(turn.content)
        return self.after_opener(turn.content) if is_cut else ""

    def text(self, prompt: Prompt, before: Sequence[Message], prefix: str, turn: Message) -> str:
        """What stands after `prefix` when the assistant has spoken: lead, words, close, and what opens the next turn.

        Raises:
            PreflabError: the template refuses the turn, leaves part of it out, or changes what stands before it.
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
            text = self._by_its_frame(turn, whole) or self._behind_its_header(prompt, before, prefix, turn, whole)
        if text is None or (thinks and self._lacks_thinking(turn, text)):
            text = self._as_the_model_writes(prompt, turn)
        text = self.with_end(text, turn)
        self._refuse_lost(prompt, turn, self.until_end(text), lambda other: self._again(prompt, before, prefix, other))
        return text

    def _again(self, prompt: Prompt, before: Sequence[Message], prefix: str, turn: Message) -> str | None:
        """What the template writes for a turn that was changed, up to its end; None: it refuses that."""
        try:
            text = continuation(prefix, self.template.text([*before, turn], prompt, opened=False))
        except PreflabError:
            return None
        return None if text is None else self.until_end(self.with_end(text, turn))

    def _by_its_frame(self, turn: Message, whole: str) -> str | None:
        """A turn whose words the template writes as ever, while it changes turns before them (a system's turn that it
        writes only where the user's turn is the last)."""
        written = turn.content.strip() + self.frame.rest
        if self.frame.lead is None or turn.tool_calls or not whole.endswith(written):
            return None
        return self.frame.lead + written

    def _behind_its_header(
        self, prompt: Prompt, before: Sequence[Message], prefix: str, turn: Message, whole: str
    ) -> str | None:
        """A turn that calls tools, as it stands behind the header with which the generation prompt opens it, while the
        template changes turns before it (a tool's answer that it closes in another way at the end)."""
        closed = self.template.text(before, prompt, opened=False)
        header = prefix.removeprefix(closed)
        if not turn.tool_calls or not header.strip() or header == prefix or whole.count(header) != prefix.count(header):
            return None
        return whole.rpartition(header)[2]

    def without_thinking(self, prefix: str, words: str) -> Ids:
        """Tokens of an answer whose end is left open, and before which the thinking that `prefix` opens is closed."""
        opener = self.frame.opener
        closing = THINKING_TAGS[opener.strip()]
        return self.joining.continued(prefix, f"{opener[len(opener.rstrip()) :]}{closing}\n\n{words}")

    def continuing(self, prompt: Prompt, prefix: str, turn: Message, *, ended: bool = True) -> Ids:
        """Tokens of the rest of an assistant's turn whose beginning ends the prompt."""
        begun = prompt.messages[-1]
        if turn != Message("assistant", turn.content):
            raise PreflabError(
                f"{where(prompt)}: a turn that is to be continued by thinking or by calls of tools",
                "words that continue the assistant's turn",
                "take the assistant's turn off the prompt",
            )
        self._refuse_ends_inside(prompt, turn)
        joined = replace(begun, content=begun.content + turn.content)
        whole = self.template.text([*prompt.messages[:-1], joined], prompt, opened=False)
        if not whole.startswith(prefix):
            raise PreflabError(
                f"{where(prompt)}: the chat template changes the assistant's turn when it is continued",
                "a template that writes it as it is",
                "take the assistant's turn off the prompt",
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
        """Tokens of a completion of several turns, and which of them the policy wrote (and has to learn).

        Each turn stands as the model wrote it. Where the template writes it anew once others follow, what comes after
        it is the template's, and it stays as it was; with `in_one_piece` that is refused. Where the last turn was cut
        (not `ended`), its end is left open.

        Raises:
            Unstable: the template writes earlier turns anew, and that is refused.
        """
        turns = [span.message or Message(span.role, span.text) for span in spans]
        for place, edge, do in ((-1, "ends", "take the last turns off"), (0, "begins", "let the prompt end with them")):
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
        """What the template writes between the end of the last turn of the assistant and its next one."""
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
        """Whether thinking that the turn holds is missing from what the template wrote."""
        found = THOUGHT.match(turn.content)
        twice = found is not None and bool(NO_THINKING.match(text))
        return twice or any(thought.strip() and thought.strip() not in text for thought in self._thoughts(turn))

    def _is_unclosed(self, turn: Message) -> bool:
        """Whether the words of a turn begin with thinking that never ends."""
        return bool(THINKS.match(turn.content)) and not THOUGHT.match(turn.content)

    def _thoughts(self, turn: Message) -> tuple[str, str]:
        """The thinking that a turn holds beside its words, and at their beginning."""
        found = THOUGHT.match(turn.content)
        return turn.reasoning, found[2] if found else ""

    def _as_the_model_writes(self, prompt: Prompt, turn: Message) -> str:
        """A turn whose thinking the template takes out, as it follows the generation prompt: thinking, words, close."""
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
            problem = "the chat template goes on from its generation prompt in another way than its own turns do"
        raise PreflabError(
            f"{where(prompt)}: {problem}",
            "completions in the form that the model's own turns have",
            "put thinking where the model thinks and none where it does not, or switch it in the template (a column "
            'chat_template_kwargs such as {"enable_thinking": false}); else leave the row out',
        )

    def _refuse_ends_inside(self, prompt: Prompt, turn: Message) -> None:
        """A turn whose words hold the text of a token that ends turns would be cut there."""
        held = [turn.content, turn.reasoning, *(call.arguments for call in turn.tool_calls)]
        inside = next((mark for mark in self.marks if any(mark in part for part in held)), None)
        if inside is not None:
            raise PreflabError(
                f"{where(prompt)}: a completion holds the text {inside!r}, which ends the assistant's turn",
                "words alone: the chat template puts the marks of turns",
                "take the mark out of the row",
            )

    def _refuse_lost(self, prompt: Prompt, turn: Message, text: str, again: Callable[[Message], str | None]) -> None:
        """A turn of which part stands after its end, or was changed."""
        found = THOUGHT.match(turn.content)
        words = turn.content[found.end() :].strip() if found else turn.content.strip()
        besides = text.replace(words, "", 1) if words else text
        lost = lost_calls(turn, besides, again)
        if words and words not in text:
            lost.insert(0, "all of the assistant's words")
        if lost:
            raise PreflabError(
                f"{where(prompt)}: the model's chat template does not write {without_breaks(lost[0])}",
                "a template that writes what the completion holds",
                "leave this row out, or take a model whose template knows it",
            )


def _unstable(prompt: Prompt) -> Unstable:
    return Unstable(
        f"{where(prompt)}: the chat template writes earlier turns of the completion anew when others follow",
        "a completion of one turn, or a template that leaves earlier turns as they were",
        "split the row: one per turn of the assistant",
    )
