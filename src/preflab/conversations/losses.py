"""What a chat template leaves out: marks are put where a conversation's parts stand, and those that vanish are lost.

A lost part is refused by line, but for a speaker's name: few templates write it and much published data has it, so it
is said once per file. The name of a tool's turn is its call's, which is looked at.

What is written depends on a conversation's shape (roles, calls, tools), seldom on its words, so one rendering with
marks answers for all conversations of a shape. Thinking of earlier turns may be left out on purpose: by a template that
writes it while its turn is the last, or that takes it out of words.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from preflab.conversations.call_ends import USER
from preflab.conversations.marks import without_breaks
from preflab.conversations.template import Template, tools_of, where
from preflab.conversations.thinking import MARK, THINKING_TAGS
from preflab.errors import PreflabError
from preflab.records import Message, Prompt, ToolCall

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """Something a conversation holds: a turn's words, thinking or name, a call's name or arguments, a tool's name."""

    kind: Literal["words", "thinking", "name", "call", "arguments", "tool"]
    turn: int
    """The turn's place; of a tool its own."""
    call: int = 0


@dataclass
class Losses:
    """What a template loses, shape by shape."""

    template: Template
    known: dict[Any, tuple[Part, ...]] = field(default_factory=dict)
    nameless: set[str] = field(default_factory=set)
    """Files whose lost names were said."""

    def refuse(self, prompt: Prompt, turns: Sequence[Message], *, opened: bool, since: int = 0) -> None:
        """Refuse a conversation of which the template does not write a turn, its thinking, a call of a tool, or a tool.

        A speaker's name that is lost is said.

        Args:
            prompt: whose `tools` and arguments the template is given, and which the error names.
            turns: the conversation.
            opened: whether the generation prompt follows.
            since: the first turn that is looked at; those before it, and the tools, have been. The thinking of those
                after it stands where it was written (`turns`), whatever the template makes of it.

        Raises:
            PreflabError: something is missing; it is named.
        """
        tools = tools_of(prompt)
        arguments = json.dumps(prompt.columns.get("chat_template_kwargs"))
        key = (since, opened, *map(_shape, turns), len(tools), arguments)
        if key not in self.known:
            once = ("tool", "thinking") if since else ()
            parts = [part for part in _parts(turns, tools) if part.turn >= since and part.kind not in once]
            self.known[key] = self._lost(prompt, turns, tools, parts, opened)
        lost = [part for part in self.known[key] if part.kind != "name"]
        if lost:
            named = without_breaks(_named(lost, turns, tools))
            raise PreflabError(
                f"{where(prompt)}: the model's chat template does not write {named}",
                "a template that writes everything the conversation holds",
                "leave this row out, take that part off it, or take a model whose template knows it",
            )
        if self.known[key]:
            self._say_once(where(prompt), without_breaks(_named(self.known[key], turns, tools)))

    def _say_once(self, row: str, name: str) -> None:
        """Names the first turn of a file whose name is lost."""
        file = row.rpartition(", ")[0]
        if file not in self.nameless:
            self.nameless.add(file)
            logger.warning(
                "%s: the model's chat template does not write %s: names of speakers are left out of this file's "
                "conversations",
                row,
                name,
            )

    def _lost(
        self, prompt: Prompt, turns: Sequence[Message], tools: list[Any], parts: Sequence[Part], opened: bool
    ) -> tuple[Part, ...]:
        text = self._marked(prompt, turns, tools, parts, opened)
        if text is not None:
            missing = [part for number, part in enumerate(parts) if _mark(number) not in text]
        else:
            missing = [part for part in parts if self._lost_alone(prompt, turns, tools, part, opened)]
        return tuple(part for part in missing if not self._is_left_out(prompt, turns, tools, part, opened))

    def _is_left_out(
        self, prompt: Prompt, turns: Sequence[Message], tools: list[Any], part: Part, opened: bool
    ) -> bool:
        """Whether a template that knows thinking leaves it out of an earlier turn on purpose.

        It writes the thinking of a last turn (some of a turn that calls a tool or of a second answer alone, some where
        thinking is switched on), or it takes thinking out of the turn's words.
        """
        if part.kind != "thinking":
            return False
        return self._writes_the_last(prompt, turns[: part.turn + 1], tools) or any(
            self._takes_out(prompt, turns, tools, part.turn, tags, opened) for tags in THINKING_TAGS.items()
        )

    def _writes_the_last(self, prompt: Prompt, turns: Sequence[Message], tools: list[Any]) -> bool:
        *before, turn = turns
        calling = replace(turn, tool_calls=turn.tool_calls or (ToolCall("probe", "{}"),))
        held = prompt.columns.get("chat_template_kwargs") or {}
        switched = {**prompt.columns, "chat_template_kwargs": {**held, "enable_thinking": True, "thinking": True}}
        return any(
            _mark(0) in (self._marked(asked, tried, tools, [Part("thinking", len(tried) - 1)], opened=False) or "")
            for asked in (prompt, replace(prompt, columns=switched))
            for tried in (turns, [*before, calling], [*turns, USER, turn])
        )

    def _takes_out(
        self,
        prompt: Prompt,
        turns: Sequence[Message],
        tools: list[Any],
        place: int,
        tags: tuple[str, str],
        opened: bool,
    ) -> bool:
        in_words = replace(turns[place], reasoning="", content=f"{tags[0]}\n{_mark(0)}\n{tags[1]}\n\nx")
        text = self._marked(prompt, [*turns[:place], in_words, *turns[place + 1 :]], tools, [], opened)
        return text is not None and _mark(0) not in text

    def _lost_alone(self, prompt: Prompt, turns: Sequence[Message], tools: list[Any], part: Part, opened: bool) -> bool:
        """Whether a part is lost where the template refuses marks in other places; if here, too, its own text tells."""
        text = self._marked(prompt, turns, tools, [part], opened)
        if text is not None:
            return _mark(0) not in text
        return _said(part, turns, tools) not in self.template.text(turns, prompt, opened=opened)

    def _marked(
        self, prompt: Prompt, turns: Sequence[Message], tools: list[Any], parts: Sequence[Part], opened: bool
    ) -> str | None:
        """What the template writes with a mark in place of each part; None: it refuses that."""
        marked, named = [*turns], deepcopy(tools)
        for number, part in enumerate(parts):
            if part.kind == "tool":
                _function(named[part.turn])["name"] = _mark(number)
            else:
                marked[part.turn] = _with_mark(marked[part.turn], part, _mark(number))
        columns = {**prompt.columns, "tools": named}
        try:
            return self.template.text(marked, replace(prompt, columns=columns), opened=opened)
        except PreflabError:
            return None


def _mark(number: int) -> str:
    return f"{MARK}{number:05d}"


def _shape(turn: Message) -> tuple[Any, ...]:
    calls = tuple(_has_arguments(call) for call in turn.tool_calls)
    return (
        turn.role,
        bool(turn.content.strip()),
        calls,
        bool(turn.reasoning.strip()),
        bool(turn.name),
        bool(turn.tool_call_id),
    )


def _parts(turns: Sequence[Message], tools: list[Any]) -> list[Part]:
    parts = [Part("tool", place) for place, tool in enumerate(tools) if _function(tool).get("name")]
    for place, turn in enumerate(turns):
        if turn.reasoning.strip():
            parts.append(Part("thinking", place))
        if turn.content.strip():
            parts.append(Part("words", place))
        if turn.name and turn.role != "tool":
            parts.append(Part("name", place))
        for number, call in enumerate(turn.tool_calls):
            parts.append(Part("call", place, number))
            if _has_arguments(call):
                parts.append(Part("arguments", place, number))
    return parts


def _has_arguments(call: ToolCall) -> bool:
    return call.arguments.strip() not in ("", "{}")


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    """Name and parameters of a tool, which stand under `function` or in the tool itself."""
    inner = tool.get("function")
    return inner if isinstance(inner, dict) else tool


def _with_mark(turn: Message, part: Part, mark: str) -> Message:
    if part.kind == "words":
        return replace(turn, content=mark)
    if part.kind == "name":
        return replace(turn, name=mark)
    if part.kind == "thinking":
        return replace(turn, reasoning=mark)
    call = turn.tool_calls[part.call]
    call = replace(call, name=mark) if part.kind == "call" else replace(call, arguments=json.dumps({"mark": mark}))
    return replace(turn, tool_calls=(*turn.tool_calls[: part.call], call, *turn.tool_calls[part.call + 1 :]))


def _said(part: Part, turns: Sequence[Message], tools: list[Any]) -> str:
    """A part's own text; "" for arguments, which templates write anew."""
    if part.kind == "tool":
        return str(_function(tools[part.turn])["name"])
    turn = turns[part.turn]
    if part.kind in ("words", "thinking"):
        return (turn.content if part.kind == "words" else turn.reasoning).strip()
    if part.kind == "name":
        return turn.name
    return turn.tool_calls[part.call].name if part.kind == "call" else ""


def _named(lost: Sequence[Part], turns: Sequence[Message], tools: list[Any]) -> str:
    """The first part that is lost; words are no turn where the call beside them is written."""
    part = lost[0]
    if part.kind == "tool":
        return f"the tool {_said(part, turns, tools)}"
    if part.kind == "words":
        calls = turns[part.turn].tool_calls
        is_written = bool(calls) and not any(other.kind == "call" and other.turn == part.turn for other in lost)
        beside = f"the words of turn {part.turn + 1} beside its call of {calls[0].name}" if is_written else ""
        return beside or f"turn {part.turn + 1}, the {turns[part.turn].role}'s"
    if part.kind == "name":
        return f"the name of turn {part.turn + 1}, the {turns[part.turn].role}'s ({turns[part.turn].name})"
    if part.kind == "thinking":
        return f"the thinking of turn {part.turn + 1}"
    call = turns[part.turn].tool_calls[part.call].name
    return f"the call of {call}" if part.kind == "call" else f"the arguments of the call of {call}"
