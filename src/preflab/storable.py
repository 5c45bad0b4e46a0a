"""What JSON, SQLite and PostgreSQL can all hold: values from outside are looked at before anything is stored.

Python holds more than a database does: halves of characters, NaN, numbers of any length, objects nested without end.
Each is refused where it comes in, named by its field, instead of failing in the middle of a request or a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_DEPTH = 64
"""Levels of lists and objects in one another. Tools' JSON schemas have about ten."""

LARGEST = 2**63 - 1
"""The largest whole number of a database."""

PATH_LENGTH = 120


class Unstorable(NamedTuple):
    """A value that cannot be stored."""

    where: str
    """Its field, such as `rows[3].prompt`."""
    found: str
    expected: str


def unstorable(value: Any, where: str = "") -> Unstorable | None:
    """The first value in lists and objects that cannot be stored, or None.

    Args:
        value: as JSON gives it; other objects than those of JSON are left alone.
        where: what the value is called in the answer.
    """
    waiting: list[tuple[Any, str, int]] = [(value, where, 1)]
    while waiting:
        value, where, depth = waiting.pop()
        if isinstance(value, str):
            problem = _text(value, where)
        elif isinstance(value, Mapping | list | tuple):
            problem = _keys(value, where, depth)
            if problem is None:
                waiting.extend(reversed(_inside(value, where, depth + 1)))
        else:
            problem = _number(value, where)
        if problem is not None:
            return problem
    return None


def shown(value: Any, most: int = 80) -> str:
    """The beginning of a value as Python writes it, of any value; Python refuses to write very long numbers."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a very long {type(value).__name__}"
    return text[:most]


def unstorable_text(text: str) -> str:
    """What is wrong with a text, in words; "" for one that can be stored."""
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half a character (a lone surrogate such as \\ud83d)"
    return ""


def _text(text: str, where: str) -> Unstorable | None:
    wrong = unstorable_text(text)
    return Unstorable(where, wrong, "whole characters") if wrong else None


def _number(value: Any, where: str) -> Unstorable | None:
    if isinstance(value, float) and not math.isfinite(value):
        return Unstorable(where, f"the number {value}", "a finite number")
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        return Unstorable(where, "a whole number beyond 64 bits", f"a whole number of at most {LARGEST}")
    return None


def _keys(value: Any, where: str, depth: int) -> Unstorable | None:
    if depth > MAX_DEPTH:
        return Unstorable(where, "lists or objects nested too deeply", f"at most {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for key in value:
            wrong = unstorable_text(key) if isinstance(key, str) else ""
            if wrong:
                return Unstorable(where, f"{wrong} in the name {key!r:.40}", "whole characters")
    return None


def _inside(value: Any, where: str, depth: int) -> list[tuple[Any, str, int]]:
    """The entries of a list or an object, with their paths; a long path keeps its beginning."""
    named = value.items() if isinstance(value, Mapping) else enumerate(value)
    if len(where) > PATH_LENGTH:
        return [(each, where, depth) for _, each in named]
    if isinstance(value, Mapping):
        return [(each, f"{where}.{key}" if where else str(key), depth) for key, each in named]
    return [(each, f"{where}[{index}]", depth) for index, each in named]
