"""Find parts of a conversation that a chat template does not write: a part is lost if a mark in its place vanishes.

A lost part is refused with the row's line. A speaker's name is an exception: few templates write it and much published
data has it, so there is one warning per file. The name in a tool's turn is that of its call, which is checked.

The result depends on a conversation's shape (roles, calls, tools) and hardly on its words, so one rendering with marks
serves all conversations of a shape. Templates may leave out the thinking of earlier turns on purpose: they write it
only in the last turn, or remove it from the words.
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
    """A part of a conversation: a turn's words, thinking or name, a call's name or arguments, a tool's name."""

    kind: Literal["words", "thinking", "name", "call", "arguments", "tool"]
    turn: int
    """Position of the turn; for a tool the position of the tool."""
    call: int = 0
    """Position of the call within the turn."""


@dataclass
class Losses:
    """The parts that a template loses, by shape of conversation."""

    template: Template
    known: dict[Any, tuple[Part, ...]] = field(default_factory=dict)
    nameless: set[str] = field(default_factory=set)
    """Files for which lost names were already reported."""

    def refuse(self, prompt: Prompt, turns: Sequence[Message], *, opened: bool, since: int = 0) -> None:
        """Refuse a conversation if the template loses a turn, its thinking, a tool call, or a tool.

        A lost name of a speaker only gives a warning.

        Args:
            prompt: its `tools` and arguments are given to the template, and errors name it.
            turns: the conversation.
            opened: whether the generation prompt follows.
            since: the first turn to check; earlier turns and the tools were checked before. If it is above 0, thinking
                is not checked: `turns` writes it itself.

        Raises:
            PreflabError: a part is lost; the error names it.
        """
        tools = tools_of(prompt)
        arguments = json.dumps(prompt.columns.get("chat_template_kwargs"))
        key = (since, opened, *map(_shape, turns), len(tools), arguments)
        if key not in self.known:
            unchecked = ("tool", "thinking") if since else ()
            parts = [part for part in _parts(turns, tools) if part.turn >= since and part.kind not in unchecked]
            self.known[key] = self._lost(prompt, turns, tools, parts, opened)
        lost = [part for part in self.known[key] if part.kind != "name"]
        if lost:
            description = without_breaks(_describe_first(lost, turns, tools))
            raise PreflabError(
                f"{where(prompt)}: the model's chat template does not write {description}",
                "a template that writes everything in the conversation",
                "leave this row out, remove that part, or use a model whose template supports it",
            )
        if self.known[key]:
            self._warn_once(where(prompt), without_breaks(_describe_first(self.known[key], turns, tools)))

    def _warn_once(self, row: str, name: str) -> None:
        """Warn about the first lost name of a speaker in a file."""
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
        """Whether a template leaves the thinking of an earlier turn out on purpose.

        It does if it writes the thinking of a last turn (some templates only with a tool call, in a second answer, or
        if thinking is switched on), or if it removes thinking from the turn's words.
        """
        if part.kind != "thinking":
            return False
        return self._writes_last_thinking(prompt, turns[: part.turn + 1], tools) or any(
            self._removes_thinking(prompt, turns, tools, part.turn, tags, opened) for tags in THINKING_TAGS.items()
        )

    def _writes_last_thinking(self, prompt: Prompt, turns: Sequence[Message], tools: list[Any]) -> bool:
        """Whether the template writes the thinking of the last turn, in some variant of the conversation."""
        *before, turn = turns
        calling = replace(turn, tool_calls=turn.tool_calls or (ToolCall("probe", "{}"),))
        arguments = prompt.columns.get("chat_template_kwargs") or {}
        switched = {**prompt.columns, "chat_template_kwargs": {**arguments, "enable_thinking": True, "thinking": True}}
        return any(
            _mark(0) in (self._marked(variant, tried, tools, [Part("thinking", len(tried) - 1)], opened=False) or "")
            for variant in (prompt, replace(prompt, columns=switched))
            for tried in (turns, [*before, calling], [*turns, USER, turn])
        )

    def _removes_thinking(
        self,
        prompt: Prompt,
        turns: Sequence[Message],
        tools: list[Any],
        place: int,
        tags: tuple[str, str],
        opened: bool,
    ) -> bool:
        """Whether the template removes thinking in these tags from the words of a turn."""
        with_thinking = replace(turns[place], reasoning="", content=f"{tags[0]}\n{_mark(0)}\n{tags[1]}\n\nx")
        text = self._marked(prompt, [*turns[:place], with_thinking, *turns[place + 1 :]], tools, [], opened)
        return text is not None and _mark(0) not in text

    def _lost_alone(self, prompt: Prompt, turns: Sequence[Message], tools: list[Any], part: Part, opened: bool) -> bool:
        """Whether a part is lost, tested with a mark for this part only; by its own text if that is refused too."""
        text = self._marked(prompt, turns, tools, [part], opened)
        if text is not None:
            return _mark(0) not in text
        return _own_text(part, turns, tools) not in self.template.text(turns, prompt, opened=opened)

    def _marked(
        self, prompt: Prompt, turns: Sequence[Message], tools: list[Any], parts: Sequence[Part], opened: bool
    ) -> str | None:
        """The rendered text with a mark in place of each part; None if the template refuses it."""
        marked, marked_tools = [*turns], deepcopy(tools)
        for number, part in enumerate(parts):
            if part.kind == "tool":
                _function(marked_tools[part.turn])["name"] = _mark(number)
            else:
                marked[part.turn] = _with_mark(marked[part.turn], part, _mark(number))
        columns = {**prompt.columns, "tools": marked_tools}
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
    """The object with a tool's name and parameters: its `function`, or the tool itself."""
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


def _own_text(part: Part, turns: Sequence[Message], tools: list[Any]) -> str:
    """The text of a part; "" for arguments, which templates reformat."""
    if part.kind == "tool":
        return str(_function(tools[part.turn])["name"])
    turn = turns[part.turn]
    if part.kind in ("words", "thinking"):
        return (turn.content if part.kind == "words" else turn.reasoning).strip()
    if part.kind == "name":
        return turn.name
    return turn.tool_calls[part.call].name if part.kind == "call" else ""


def _describe_first(lost: Sequence[Part], turns: Sequence[Message], tools: list[Any]) -> str:
    """The first lost part in words; lost words are called a turn unless a call of the same turn is written."""
    part = lost[0]
    if part.kind == "tool":
        return f"the tool {_own_text(part, turns, tools)}"
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
