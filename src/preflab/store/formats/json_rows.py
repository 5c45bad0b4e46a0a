"""A row as JSON holds it, with its line; numbers, keys and characters that others could not hold are refused."""

from __future__ import annotations

import datetime
import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

Row = dict[str, Any]
ROW_BYTES = 64 * 2**20
"""Bytes one row may have, so that a file without line ends cannot fill the memory."""
MAX_DIGITS = 1000
"""Digits of a whole number; Python itself reads 4,300."""


class BadRow(ValueError):
    """A row that cannot be used: what was found in it, and what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected


@dataclass(frozen=True)
class Problem:
    """A row that was left out, or that stopped an import."""

    line: int
    """Line of the file, from 1; the number of the row in Parquet and data sets."""
    found: str
    expected: str


class Numbered(NamedTuple):
    """One row with its line: either its columns, or what is wrong with it."""

    line: int
    row: Row | BadRow


def checked_row(row: Any, text: str) -> Row:
    """What was read from this text, if it is an object of whole characters.

    Raises:
        BadRow: it is not.
    """
    if not isinstance(row, dict):
        raise BadRow(f"a JSON {type(row).__name__}, not an object", "one JSON object per line")
    if "\\u" in text:
        _refuse_half_characters(row)
    return row


def object_in(text: str) -> Any:
    """The object or list that a text is as JSON; else the text."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text, **STRICT)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> None:
    """Refuses NaN and infinity, which JSON does not have."""
    raise BadRow(f"the number {name}", "finite numbers, or null")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadRow(f"the number {text[:20]}, which is infinite as a float", "finite numbers, or null")
    return value


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise BadRow(f"a whole number of {len(text):,} digits", f"at most {MAX_DIGITS}")
    return int(text)


NUMBERS: dict[str, Any] = {"parse_constant": _no_constant, "parse_float": _float, "parse_int": _int}
"""For `json.loads`: numbers that no database or program after us could hold are refused by line."""


def _each_key_once(pairs: list[tuple[str, Any]]) -> Row:
    """An object of these keys; of a key that stands there twice, the first value would be lost without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRow(f"the key {twice!r:.40} twice in one object", "each key once")
    return found


STRICT: dict[str, Any] = {**NUMBERS, "object_pairs_hook": _each_key_once}
"""For `json.loads` of rows and of what stands as JSON in their cells."""
DECODER = json.JSONDecoder(**STRICT)
"""Made once: `json.loads` with arguments makes one for every row."""


def _refuse_half_characters(row: Row) -> None:
    """JSON can escape half of a character beyond the basic plane, which no file or database can hold as text."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRow("half a character (a lone surrogate such as \\ud83d)", "whole characters") from None


def plain_row(row: Row) -> Row | BadRow:
    """A row of columns (Parquet, Arrow) as JSON has it; a null inside an object, which Arrow also writes for a key that
    another row has, counts as no key.
    """
    try:
        return {name: plain(value, name) for name, value in row.items()}
    except BadRow as bad:
        return bad


def plain(value: Any, column: str) -> Any:
    """A value as JSON has it: dates as text, NaN (a missing number of a data frame) as null.

    Raises:
        BadRow: it holds what JSON does not have, such as bytes.
    """
    if isinstance(value, dict):
        inner = {name: plain(each, column) for name, each in value.items()}
        return {name: each for name, each in inner.items() if each is not None}
    if isinstance(value, list | tuple):
        return [plain(each, column) for each in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or (isinstance(value, str | bool | int | float) and value not in (math.inf, -math.inf)):
        return value
    raise BadRow(f"the column {column!r} holds {type(value).__name__} {str(value)[:30]!r}", "JSON values")
