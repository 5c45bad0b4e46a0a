"""Calls of a turn that stand after the turn's end: nobody would learn them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from preflab.conversations.thinking import MARK
from preflab.records import Message


def lost_calls(turn: Message, text: str, again: Callable[[Message], str | None]) -> list[str]:
    """What is missing of a turn's calls, as errors name it.

    Args:
        turn: the assistant's.
        text: what the template wrote for it besides its words, up to the turn's end.
        again: what the template writes up to the end of a turn that is given to it; None where it refuses that turn.
    """
    names = [call.name for call in turn.tool_calls]
    lost = [f"the call of {name}" for n, name in enumerate(names) if text.count(name) <= names[:n].count(name)]
    for number in range(0 if lost else len(names)):
        # Templates write arguments in forms of their own, so a mark is looked for in their place.
        written = (
            again(with_mark(turn, number)) if turn.tool_calls[number].arguments.strip() not in ("", "{}") else None
        )
        if written is not None and MARK not in written:
            lost.append(f"the arguments of the call of {names[number]}")
    return lost


def with_mark(turn: Message, number: int) -> Message:
    """A turn with the mark as the only argument of one of its calls."""
    calls = [*turn.tool_calls]
    calls[number] = replace(calls[number], arguments=json.dumps({"mark": MARK}))
    return replace(turn, tool_calls=tuple(calls))


def ending_with_mark(turn: Message) -> Message:
    """A turn whose last words are the mark."""
    return with_mark(turn, len(turn.tool_calls) - 1) if turn.tool_calls else replace(turn, content=MARK)
