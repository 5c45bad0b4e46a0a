"""Find tool calls that a template writes after the end of their turn, where they would not be learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from preflab.conversations.thinking import MARK
from preflab.records import Message


def find_lost_calls(turn: Message, text: str, render: Callable[[Message], str | None]) -> list[str]:
    """The missing parts of a turn's calls, in the words of errors.

    Args:
        turn: the assistant's turn.
        text: the rendered turn without its words, up to its end.
        render: renders a changed turn up to its end; None if the template refuses it.
    """
    names = [call.name for call in turn.tool_calls]
    lost = [f"the call of {name}" for n, name in enumerate(names) if text.count(name) <= names[:n].count(name)]
    for number in range(0 if lost else len(names)):
        # Templates format arguments differently, so a mark is searched in their place.
        written = (
            render(with_mark(turn, number)) if turn.tool_calls[number].arguments.strip() not in ("", "{}") else None
        )
        if written is not None and MARK not in written:
            lost.append(f"the arguments of the call of {names[number]}")
    return lost


def with_mark(turn: Message, number: int) -> Message:
    """The turn with the mark as the only argument of call `number`."""
    calls = [*turn.tool_calls]
    calls[number] = replace(calls[number], arguments=json.dumps({"mark": MARK}))
    return replace(turn, tool_calls=tuple(calls))


def ending_with_mark(turn: Message) -> Message:
    """The turn with the mark as its last part: in the last call's arguments, else as its words."""
    return with_mark(turn, len(turn.tool_calls) - 1) if turn.tool_calls else replace(turn, content=MARK)
