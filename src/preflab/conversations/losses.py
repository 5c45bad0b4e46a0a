"""What a chat template leaves out: marks are put where a conversation's parts stand, and those that vanish are lost.

What is written depends on a conversation's shape (roles, calls, tools), seldom on its words, so one rendering with
marks answers for all conversations of a shape.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from preflab.conversations.template import Template, tools_of, where
from preflab.conversations.thinking import MARK
from preflab.errors import PreflabError
from preflab.records import Message, Prompt, ToolCall


@dataclass(frozen=True)
class Part:
    """Something a conversation holds: a turn's words, a call's name or arguments, the name of a tool."""

    kind: Literal["words", "call", "arguments", "tool"]
    turn: int
    """The turn's place; of a tool its own."""
    call: int = 0


@dataclass
class Losses:
    """What a template loses, shape by shape."""

    template: Template
    known: dict[Any, tuple[Part, ...]] = field(default_factory=dict)

    def refuse(self, prompt: Prompt, turns: Sequence[Message], *, opened: bool, since: int = 0) -> None:
        """Refuse a conversation of which the template does not write a turn, a call of a tool, or a tool.

        Args:
            prompt: whose `tools` and arguments the template is given, and which the error names.
            turns: the conversation.
            opened: whether the generation prompt follows.
            since: the first turn that is looked at; those before it, and the tools, have been.

        Raises:
            PreflabError: something is missing; it is named.
        """
        tools = tools_of(prompt)
        arguments = json.dumps(prompt.columns.get("chat_template_kwargs"))
        key = (since, opened, *map(_shape, turns), len(tools), arguments)
        if key not in self.known:
            parts = [part for part in _parts(turns, tools) if part.turn >= since and (not since or part.kind != "tool")]
            self.known[key] = self._lost(prompt, turns, tools, parts, opened)
        if self.known[key]:
            raise PreflabError(
                f"{where(prompt)}: the model's chat template does not write {_named(self.known[key][0], turns, tools)}",
                "a template that writes everything the conversation holds",
                "leave this row out, take that part off it, or take a model whose template knows it",
            )

    def _lost(
        self, prompt: Prompt, turns: Sequence[Message], tools: list[Any], parts: Sequence[Part], opened: bool
    ) -> tuple[Part, ...]:
        text = self._marked(prompt, turns, tools, parts, opened)
        if text is not None:
            return tuple(part for number, part in enumerate(parts) if _mark(number) not in text)
        return tuple(part for part in parts if self._lost_alone(prompt, turns, tools, part, opened))

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
    return turn.role, bool(turn.content.strip()), calls, bool(turn.reasoning), bool(turn.name), bool(turn.tool_call_id)


def _parts(turns: Sequence[Message], tools: list[Any]) -> list[Part]:
    found = [Part("tool", place) for place, tool in enumerate(tools) if _function(tool).get("name")]
    for place, turn in enumerate(turns):
        if turn.content.strip():
            found.append(Part("words", place))
        for number, call in enumerate(turn.tool_calls):
            found.append(Part("call", place, number))
            if _has_arguments(call):
                found.append(Part("arguments", place, number))
    return found


def _has_arguments(call: ToolCall) -> bool:
    return call.arguments.strip() not in ("", "{}")


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    """Name and parameters of a tool, which stand under `function` or in the tool itself."""
    inner = tool.get("function")
    return inner if isinstance(inner, dict) else tool


def _with_mark(turn: Message, part: Part, mark: str) -> Message:
    if part.kind == "words":
        return replace(turn, content=mark)
    call = turn.tool_calls[part.call]
    call = replace(call, name=mark) if part.kind == "call" else replace(call, arguments=json.dumps({"mark": mark}))
    return replace(turn, tool_calls=(*turn.tool_calls[: part.call], call, *turn.tool_calls[part.call + 1 :]))


def _said(part: Part, turns: Sequence[Message], tools: list[Any]) -> str:
    """A part's own text; "" for arguments, which templates write anew."""
    if part.kind == "tool":
        return str(_function(tools[part.turn])["name"])
    turn = turns[part.turn]
    if part.kind == "words":
        return turn.content.strip()
    return turn.tool_calls[part.call].name if part.kind == "call" else ""


def _named(part: Part, turns: Sequence[Message], tools: list[Any]) -> str:
    if part.kind == "tool":
        return f"the tool {_said(part, turns, tools)}"
    if part.kind == "words":
        return f"turn {part.turn + 1}, the {turns[part.turn].role}'s"
    call = turns[part.turn].tool_calls[part.call].name
    return f"the call of {call}" if part.kind == "call" else f"the arguments of the call of {call}"
