"""Insert breaks (`marks`) into prompts and turns, so that spellings of special tokens stay text.

In an assistant's words, tags of thinking and the template's marks around tool calls are exceptions: they become tokens.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from preflab.conversations.call_ends import CALLING, USER
from preflab.conversations.marks import Marks
from preflab.conversations.template import TOOL, Template, where
from preflab.conversations.thinking import THINKING_TAGS
from preflab.conversations.turn_ends import ANSWER
from preflab.errors import PreflabError
from preflab.records import Message, Prompt, ToolCall

logger = logging.getLogger(__name__)

COLUMNS = ("tools", "chat_template_kwargs")
"""Columns of a prompt that the template uses."""


@dataclass
class Spelling:
    """Inserts the breaks."""

    template: Template
    marks: Marks
    stops: Callable[[], Sequence[int]]
    """Returns the tokens that end turns; no words may contain them."""
    said: set[str] = field(default_factory=set)
    """Special tokens for which a warning was already given."""

    def plain(self, prompt: Prompt, text: str) -> str:
        """A plain text with breaks.

        Raises:
            PreflabError: as for `text`; or the text contains marks that the chat template writes around turns, so it
                was probably rendered before, and as plain text it would mean something else.
        """
        mark = next((mark for mark in self.of_turns if mark in text), None)
        if mark is not None:
            raise PreflabError(
                f"{where(prompt)}: a plain text with {mark}, which the model's chat template writes around turns",
                "a conversation as turns, for preflab to render, or a text without that mark",
                'give the row as [{"role": "user", "content": "…"}, …]',
            )
        return self.text(prompt, text)

    def text(self, prompt: Prompt, text: str, kept: Collection[str] = ()) -> str:
        """A text with breaks, except in the spellings in `kept`.

        Raises:
            PreflabError: it spells a special token that the tokenizer cannot write with other tokens.
        """
        broken = self.marks.broken(text, kept)
        if broken != text:
            self._warn_once(prompt, str(self.marks.held(text, kept)))
        text, mark = broken, self.marks.held(broken, kept)
        if mark is not None:
            raise PreflabError(
                f"{where(prompt)}: the text {mark!r} is a special token, and the tokenizer cannot spell it otherwise",
                "text without special tokens: preflab and the chat template add them",
                "remove it from the row",
            )
        return text

    def _warn_once(self, prompt: Prompt, mark: str) -> None:
        """Warn once per special token that its spelling is used as text, in case the token was meant."""
        if mark not in self.said:
            self.said.add(mark)
            logger.warning("%s: %s in a text is taken as text, not as the special token", where(prompt), mark)

    def prompt(self, prompt: Prompt) -> Prompt:
        """A conversation with breaks in its turns, its tools and the template's arguments; its id stays the same."""
        turns = tuple(self.turn(prompt, turn) for turn in prompt.messages)
        columns = {name: self._column(prompt, prompt.columns[name]) for name in COLUMNS if prompt.columns.get(name)}
        return replace(prompt, messages=turns, columns={**prompt.columns, **columns})

    def turn(self, prompt: Prompt, turn: Message) -> Message:
        """A turn with breaks."""
        if self.marks.held("\n".join(_texts(turn))) is None:
            return turn
        return replace(
            turn,
            content=self.text(prompt, turn.content, self._kept(turn)),
            reasoning=self.text(prompt, turn.reasoning),
            tool_calls=tuple(self._call(prompt, call) for call in turn.tool_calls),
            name=self.text(prompt, turn.name),
            tool_call_id=self.text(prompt, turn.tool_call_id),
        )

    def answer(self, prompt: Prompt, text: str) -> str:
        """The words of an assistant with breaks."""
        return self.turn(prompt, Message("assistant", text)).content

    def _call(self, prompt: Prompt, call: ToolCall) -> ToolCall:
        return ToolCall(*(self.text(prompt, text) for text in (call.name, call.arguments, call.id)))

    def _column(self, prompt: Prompt, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(prompt, value)
        written = json.dumps(value, ensure_ascii=False)
        return value if self.marks.held(written) is None else json.loads(self.text(prompt, written))

    def _kept(self, turn: Message) -> Collection[str]:
        """Spellings without breaks in this turn; system turns may contain tags of thinking, as published ones do."""
        if turn.role == "system":
            return self.of_thinking
        return self.of_thinking | self.of_calls if turn.role == "assistant" else ()

    @cached_property
    def of_thinking(self) -> frozenset[str]:
        """Special tokens in tags of thinking."""
        return self.marks.within(THINKING_TAGS)

    @cached_property
    def of_turns(self) -> frozenset[str]:
        """Special tokens that the chat template writes around turns, without BOS and EOS."""
        written, tokenizer = self._written(ANSWER, tools=False), self.marks.tokenizer
        usual = (tokenizer.bos_token, tokenizer.eos_token)
        return frozenset(mark for mark in self.marks.texts if mark in written and mark not in usual)

    @cached_property
    def of_calls(self) -> frozenset[str]:
        """Special tokens that the template writes only in turns with tool calls, without those that end turns."""
        answering, calling = self._written(ANSWER), self._written(CALLING)
        ends = set(self.marks.tokenizer.convert_ids_to_tokens(list(self.stops())))
        marks = (mark for mark in self.marks.texts if mark in calling and mark not in answering)
        return frozenset(mark for mark in marks if mark not in ends)

    def _written(self, turn: Message, *, tools: bool = True) -> str:
        asked = Prompt.make(messages=(USER,), columns={"tools": [TOOL] if tools else None})
        try:
            return self.template.text([USER, turn], asked, opened=False)
        except PreflabError:  # there is no template, or it does not support tools
            return ""


def _texts(turn: Message) -> list[str]:
    calls = [text for call in turn.tool_calls for text in (call.name, call.arguments, call.id)]
    return [turn.content, turn.reasoning, turn.name, turn.tool_call_id, *calls]
