"""CSV cells that a spreadsheet cannot take for a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")
"""What a formula begins with in some spreadsheet, full-width signs and leading white space included."""


def safe_cell(value: Any) -> Any:
    """A value as a CSV cell: text that begins like a formula gets an apostrophe before it; numbers stay numbers.

    Example:
        >>> safe_cell("=HYPERLINK(1)"), safe_cell("fine"), safe_cell(-3)
        ("'=HYPERLINK(1)", 'fine', -3)
    """
    if isinstance(value, str) and (value.startswith(SIGNS) or value.lstrip().startswith(SIGNS)):
        return f"'{value}"
    return "" if value is None else value


def write_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file whose every cell, headings included, is safe to open in a spreadsheet."""
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow([safe_cell(name) for name in columns])
    for row in rows:
        writer.writerow([safe_cell(value) for value in row])
