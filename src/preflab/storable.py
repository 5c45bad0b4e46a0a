"""Checks that JSON, SQLite and PostgreSQL can all hold a value; values from outside are checked before storing.

Python accepts values that a database does not: lone surrogates, NaN, integers of any length, objects nested without
limit. They are refused on input, with the name of the field, instead of failing in the middle of a request or a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_DEPTH = 64
"""Levels of nested lists and objects. The JSON schema of a tool has about ten."""

LARGEST = 2**63 - 1
"""The largest whole number that a database stores (64 bits, signed)."""

PATH_LENGTH = 120
"""Characters after which the path of a field is not extended any further."""


class Unstorable(NamedTuple):
    """A value that cannot be stored."""

    where: str
    """The path of its field, such as `rows[3].prompt`."""
    found: str
    expected: str


def unstorable(value: Any, where: str = "") -> Unstorable | None:
    """The first value in lists and objects that cannot be stored, or None.

    Args:
        value: as JSON gives it; objects of types that JSON does not have are not checked.
        where: the name of the value, with which the reported path begins.
    """
    waiting: list[tuple[Any, str, int]] = [(value, where, 1)]
    while waiting:
        value, where, depth = waiting.pop()
        if isinstance(value, str):
            problem = _check_text(value, where)
        elif isinstance(value, Mapping | list | tuple):
            problem = _check_keys(value, where, depth)
            if problem is None:
                waiting.extend(reversed(_entries(value, where, depth + 1)))
        else:
            problem = _check_number(value, where)
        if problem is not None:
            return problem
    return None


def shown(value: Any, most: int = 80) -> str:
    """The first `most` characters of `repr(value)`; the type alone where Python refuses to write a very long number."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a very long {type(value).__name__}"
    return text[:most]


def unstorable_text(text: str) -> str:
    """The reason why a text cannot be stored, in words; "" for a text that can be stored."""
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half a character (a lone surrogate such as \\ud83d)"
    return ""


def _check_text(text: str, where: str) -> Unstorable | None:
    wrong = unstorable_text(text)
    return Unstorable(where, wrong, "whole characters") if wrong else None


def _check_number(value: Any, where: str) -> Unstorable | None:
    if isinstance(value, float) and not math.isfinite(value):
        return Unstorable(where, f"the number {value}", "a finite number")
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        return Unstorable(where, "a whole number beyond 64 bits", f"a whole number of at most {LARGEST}")
    return None


def _check_keys(value: Any, where: str, depth: int) -> Unstorable | None:
    if depth > MAX_DEPTH:
        return Unstorable(where, "lists or objects nested too deeply", f"at most {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for key in value:
            wrong = unstorable_text(key) if isinstance(key, str) else ""
            if wrong:
                return Unstorable(where, f"{wrong} in the name {key!r:.40}", "whole characters")
    return None


def _entries(value: Any, where: str, depth: int) -> list[tuple[Any, str, int]]:
    """The entries of a list or an object as (entry, path, depth); a path beyond `PATH_LENGTH` is not extended."""
    named = value.items() if isinstance(value, Mapping) else enumerate(value)
    if len(where) > PATH_LENGTH:
        return [(each, where, depth) for _, each in named]
    if isinstance(value, Mapping):
        return [(each, f"{where}.{key}" if where else str(key), depth) for key, each in named]
    return [(each, f"{where}[{index}]", depth) for index, each in named]
