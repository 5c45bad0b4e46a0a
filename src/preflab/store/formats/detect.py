"""Guesses a file's format from its first rows, and says how sure it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from preflab.errors import PreflabError
from preflab.store.formats import FORMATS
from preflab.store.formats.reading import BadRow, Row, numbered_rows

FIRST_ROWS = 20
ENOUGH = 0.5
"""More than this share of the readable first rows must look alike; the others are bad rows, and named as such later."""


@dataclass(frozen=True)
class Guess:
    """What a file looks like."""

    format: str
    share: float
    """Share of the first rows that have this format's columns; 1.0: all of them."""
    num_rows: int
    """Readable rows looked at."""


def detect(path: Path | str, *, rename: Mapping[str, str] | None = None) -> Guess:
    """The format that most of the first rows have.

    Raises:
        PreflabError: no such file, no rows, or rows that look like nothing known or like several formats.
    """
    path = Path(path)
    rows = [row for _, row in islice(numbered_rows(path), FIRST_ROWS)]
    if not rows:
        raise PreflabError(f"{path}: no rows", "at least one row", "see whether it is the right file")
    readable = [row for row in rows if isinstance(row, dict)]
    names = Counter(_looks_like(row, rename or {}) for row in readable)
    known = Counter({name: number for name, number in names.items() if name})
    best, number = known.most_common(1)[0] if known else ("", 0)
    if number <= ENOUGH * len(readable):
        raise PreflabError(
            f"{path}: {_seen(rows, known)}",
            f"rows of one format: {', '.join(sorted(FORMATS))}",
            "name the format with --format, or rename columns with --column OLD=NEW",
        )
    return Guess(best, number / len(readable), len(readable))


def _looks_like(row: Row, rename: Mapping[str, str]) -> str:
    renamed = {rename.get(name, name): value for name, value in row.items()}
    return next((name for name, format in FORMATS.items() if format.looks_like(renamed)), "")


def _seen(rows: list[Row | BadRow], known: Counter[str]) -> str:
    if known:
        parts = ", ".join(f"{number} like {name}" for name, number in known.most_common())
        return f"of the first {len(rows)} rows {parts}, the others like nothing known"
    first = next((row for row in rows if isinstance(row, dict)), None)
    if first is None:
        bad = rows[0]
        assert isinstance(bad, BadRow)
        return f"the first {len(rows)} rows cannot be read: {bad.found}"
    return f"no known format has the columns {', '.join(first) or 'of an empty row'}"
