"""Rows as JSON objects with their lines; refuses numbers, keys and characters that other programs cannot store."""

from __future__ import annotations

import datetime
import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

Row = dict[str, Any]
ROW_BYTES = 64 * 2**20
"""The most bytes of a row, so that a file without line ends cannot fill the memory."""
MAX_DIGITS = 1000
"""The most digits of a whole number; Python's own limit is 4,300."""


class BadRow(ValueError):
    """A row that cannot be used, with what was found in it and what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected


@dataclass(frozen=True)
class Problem:
    """A row that was left out, or that stopped an import."""

    line: int
    """Line in the file, from 1; the number of the row or item in other files."""
    found: str
    expected: str


class Numbered(NamedTuple):
    """One row with its line: its columns, or a `BadRow` that says what is wrong."""

    line: int
    row: Row | BadRow


def checked_row(row: Any, text: str) -> Row:
    """The value parsed from this text, checked to be an object without lone surrogates.

    Raises:
        BadRow: it is not an object, or has a lone surrogate.
    """
    if not isinstance(row, dict):
        raise BadRow(f"a JSON {type(row).__name__}, not an object", "one JSON object per line")
    if "\\u" in text:
        _refuse_half_characters(row)
    return row


def object_in(text: str) -> Any:
    """The object or list that a text contains as JSON; any other text unchanged."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text, **STRICT)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> None:
    """Refuse NaN and infinity, which JSON does not have."""
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
"""Arguments of `json.loads` that refuse numbers which a database or another program could not store."""


def _each_key_once(pairs: list[tuple[str, Any]]) -> Row:
    """The object with these keys; refuses a duplicate key, whose first value would be lost silently."""
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRow(f"the key {twice!r:.40} twice in one object", "each key once")
    return row


STRICT: dict[str, Any] = {**NUMBERS, "object_pairs_hook": _each_key_once}
"""Arguments of `json.loads` for rows, and for JSON in their cells."""
DECODER = json.JSONDecoder(**STRICT)
"""Shared by all rows, because `json.loads` with arguments would make a decoder for each."""


def _refuse_half_characters(row: Row) -> None:
    """Refuse a lone surrogate: JSON can escape half of a character, which files and databases cannot store as text."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRow("half a character (a lone surrogate such as \\ud83d)", "whole characters") from None


def plain_row(row: Row) -> Row | BadRow:
    """A row of a columnar file (Parquet, Arrow) as JSON values.

    A key with null inside an object is removed: Arrow also writes it for keys that only other rows have.
    """
    try:
        return {name: plain(value, name) for name, value in row.items()}
    except BadRow as bad:
        return bad


def plain(value: Any, column: str) -> Any:
    """A value as a JSON value: dates become text, NaN (a missing number in data frames) null.

    Raises:
        BadRow: it contains a value that JSON does not have, such as bytes.
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
