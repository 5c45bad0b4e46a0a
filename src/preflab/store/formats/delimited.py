"""Reads delimited files: CSV and TSV, with commas, semicolons, tabs or bars.

The delimiter is the one that splits the header and all rows into the same number of columns. Cells are texts; a
conversation in a cell is JSON. An apostrophe that keeps a spreadsheet from executing a cell as a formula is removed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from preflab.errors import PreflabError
from preflab.store.formats.file_kinds import kind_of_bytes, opened, suffix_of
from preflab.store.formats.json_rows import ROW_BYTES, BadRow, Numbered, Row
from preflab.words import count

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
CELL = ROW_BYTES
"""The most characters of a cell; Python's default limit of 128 Ki is less than a long conversation."""
TRIED = 20
"""Number of rows used to determine the delimiter."""
FORMULA = "'*(?:[\t\r]|\\s*[=+\\-@＝＋－＠])"
"""Beginning of a cell that a spreadsheet would execute, including full-width signs and white space before them."""
KEPT_FROM_FORMULAS = re.compile("'" + FORMULA)
"""Beginning of a cell with a protecting apostrophe, which `exports.base` writes."""


class Cells(dict[str, Any]):
    """The columns of a delimited row."""

    num_apostrophes: int = 0
    """Number of cells from which an apostrophe was removed."""


def table_rows(path: Path) -> Iterator[Numbered]:
    """The rows of a delimited file, each with the line it begins on.

    Raises:
        PreflabError: not UTF-8, broken quoting, a column twice in the header, or an ambiguous delimiter.
    """
    delimiter = delimiter_of(path)
    try:
        with _text(path) as lines:
            first = int(read_declared_delimiter(lines) is not None)
            cells = csv.reader(lines, delimiter=delimiter, strict=True)
            header = [_without_apostrophe(name).strip() for name in next(cells, [])]
            _check_header(path, header)
            line = first + cells.line_num + 1
            for values in cells:
                if any(values):  # spreadsheets write blank lines as empty cells
                    yield Numbered(line, _row(header, values))
                line = first + cells.line_num + 1
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    except csv.Error as error:
        raise PreflabError(f"{path}, line {cells.line_num}: {error}", "quoted cells", "correct the quotes") from error


LINE = 2**16
"""The most characters of a line that are examined."""
NAME = re.compile(r"[^\W\d][\w .:/-]{0,60}")
"""A plausible name of a column."""


def delimiter_of(path: Path) -> str:
    """The delimiter of a file.

    Raises:
        PreflabError: two delimiters split the header and the first rows into the same number of columns.
    """
    csv.field_size_limit(CELL)
    try:
        with _text(path) as lines:
            declared = read_declared_delimiter(lines)
            if declared is not None:
                return declared
            sample = list(islice(lines, 200))
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    usual = "\t" if suffix_of(path) in (".tsv", ".tab") else ","
    columns = {each: _count_columns(sample, each) for each in (usual, *(d for d in DELIMITERS if d != usual))}
    fitting = {each: num for each, (num, even) in columns.items() if num > 1 and even}
    cutting = fitting or {each: num for each, (num, _) in columns.items() if num > 1}
    if not cutting:
        return usual
    best = max(cutting.values())
    named = [each for each, num in cutting.items() if num == best]
    if len(named) > 1 and usual not in named:
        raise PreflabError(
            f"{path}: {' and '.join(DELIMITERS[each] for each in named)} both split the header into {best} columns",
            "one delimiter",
            "save it as CSV with commas, or as JSONL",
        )
    return usual if usual in named else named[0]


def describe_table(path: Path) -> list[str]:
    """Notes on how the table was read: an unusual delimiter, and spaces removed from names of columns."""
    delimiter = delimiter_of(path)
    usual = "\t" if suffix_of(path) in (".tsv", ".tab") else ","
    notes = [] if delimiter == usual else [f"the cells are separated by {DELIMITERS[delimiter]}"]
    spaced = [name for name in _header(path, delimiter) if name != name.strip()]
    if spaced:
        notes.append(f"spaces around the names of columns were removed: {', '.join(map(repr, spaced))}")
    return notes


def refuse_table(path: Path) -> None:
    """Refuse a file that is named like JSON but holds a delimited table.

    Raises:
        PreflabError: the first two lines are a header and a row with as many cells.
    """
    try:
        with _text(path) as lines:
            sample = [line for line in (lines.readline(LINE) for _ in range(TRIED)) if line.strip()]
    except UnicodeDecodeError:  # reported with its line when the rows are read
        return
    if len(sample) < 2 or sample[0].lstrip()[0] in "{[":
        return
    for delimiter, ending in ((",", ".csv"), ("\t", ".tsv"), (";", ".csv")):
        try:
            header, row = list(islice(csv.reader(sample, delimiter=delimiter), 2))
        except (csv.Error, ValueError):
            continue
        if len(header) > 1 and len(header) == len(row) and all(NAME.fullmatch(cell.strip()) for cell in header):
            kind = ending.removeprefix(".").upper()
            raise PreflabError(
                f"{path}: looks like {kind}, with the columns {', '.join(map(str.strip, header))}",
                "one JSON object per line",
                f"name it {ending}",
            )


def _header(path: Path, delimiter: str) -> list[str]:
    with _text(path) as lines:
        read_declared_delimiter(lines)
        return next(csv.reader(lines, delimiter=delimiter), [])


def _text(path: Path) -> IO[str]:
    return io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="")


def read_declared_delimiter(lines: IO[str]) -> str | None:
    """Consume a first line such as `sep=;`, which Excel writes, and return its delimiter; None without such a line."""
    line = lines.readline().rstrip("\r\n")
    if line.lower().startswith("sep=") and line[4:] in DELIMITERS:
        return line[4:]
    lines.seek(0)
    return None


def _count_columns(sample: list[str], delimiter: str) -> tuple[int, bool]:
    """(number of columns in the header, whether all of the first rows have as many)."""
    try:
        rows = list(islice(csv.reader(sample, delimiter=delimiter), TRIED))
    except csv.Error:
        return 0, False
    # the sample may end within a quoted cell, so its last row is ignored
    whole = [row for row in rows[:-1] if row] if len(rows) > 2 else rows
    return (len(rows[0]) if rows else 0), all(len(row) == len(rows[0]) for row in whole if row)


def _check_header(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1 and name})
    if twice:
        raise PreflabError(
            f"{path}: the column {twice[0]!r} is twice in the header", "each column once", "rename one of them"
        )

    quoted = next((name for name in header if name.startswith('"')), None)
    if quoted:
        raise PreflabError(
            f"{path}: a quotation mark after a space in the header: {quoted}",
            "quoted cells directly after the delimiter",
            "remove the spaces after the delimiters",
        )


def _row(header: list[str], values: list[str]) -> Row | BadRow:
    if len(values) != len(header):
        return BadRow(count(len(values), "cell"), f"{len(header)}: {', '.join(header)}")
    if values == header and len(header) > 1:
        return BadRow("the header again", "the header once, in the first line")
    quoted = [_without_apostrophe(value) != value for value in values]
    row = Cells({name: value[cut:] for name, value, cut in zip(header, values, quoted, strict=True)})
    row.num_apostrophes = sum(quoted)
    return row


def _without_apostrophe(cell: str) -> str:
    return cell[1:] if KEPT_FROM_FORMULAS.match(cell) else cell


def _not_utf8(path: Path, error: UnicodeDecodeError) -> PreflabError:
    with opened(path) as file:
        kind = kind_of_bytes(file.read(32)) or error.reason
    return PreflabError(f"{path}: not UTF-8 ({kind})", "text in UTF-8", "save it as UTF-8")
