"""Guesses a file's format from its first rows, with a certainty; a file that fits no format, or two, is refused.

A row has the first format that fits it; the most specific formats are tried first. Rows with a judgment are never taken
for prompts, demonstrations or texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from preflab.errors import PreflabError
from preflab.store.formats.advice import advise_format, advise_respelling, advise_unwrapping
from preflab.store.formats.asked import refuse_unread_turns
from preflab.store.formats.base import Format, rename_columns
from preflab.store.formats.columns import COMPLETIONS, PROMPTS, has
from preflab.store.formats.file_kinds import suffix_of
from preflab.store.formats.json_rows import BadRow, Numbered, Row
from preflab.store.formats.prompt_template import with_prompt
from preflab.store.formats.prompts import PLAIN, told_of
from preflab.store.formats.rated import RATINGS, UNPAIRED
from preflab.store.formats.refused import Reason, reason_to_refuse
from preflab.store.formats.registry import FORMATS
from preflab.store.formats.row_reading import numbered_rows, unit_of
from preflab.words import plural

FIRST_ROWS = 20
OF_TEXTS = (*PROMPTS, *COMPLETIONS, "chosen", "rejected", "text")
"""Columns with one text per row."""
ENOUGH = 0.5
"""More than this share of the readable first rows must have one format; the others are reported later as bad rows."""


@dataclass(frozen=True)
class Guess:
    """A guessed format and its certainty."""

    format: str
    share: float
    """Share of the first rows that have this format's columns; 1.0: all of them."""
    num_rows: int
    """Number of readable rows examined."""


def detect(
    path: Path | str,
    *,
    rename: Mapping[str, str] | None = None,
    split: str | None = None,
    template: str | None = None,
) -> Guess:
    """Guess the format of a file: the one that most of the first rows have.

    Raises:
        PreflabError: no such file, no rows, rows of a layout that is not supported, or rows that fit no format or
            several.
    """
    path = Path(path)
    numbered = list(islice(numbered_rows(path, split), FIRST_ROWS))
    rows = [row for _, row in numbered]
    if not rows:
        raise PreflabError(f"{path}: no rows", "at least one row", "see whether it is the right file")
    readable = _readable(path, rows, rename or {}, template)
    _refuse(path, readable)
    names = Counter(looks_like(row) for row in readable)
    known = _count_formats({name: number for name, number in names.items() if name})
    best, number = known.most_common(1)[0] if known else ("", 0)
    if number <= ENOUGH * len(readable):
        _refuse_null(path, numbered, rename or {})
        raise _unknown(path, rows, readable, known)
    return Guess(best, number / len(readable), len(readable))


def looks_like(row: Row) -> str:
    """The first format whose columns a row has; "" without any."""
    fitting = [format for format in FORMATS.values() if format.looks_like(format.parse_cells(row))]
    return fitting[0].name if fitting else ""


def _readable(
    path: Path, rows: list[Row | BadRow], rename: Mapping[str, str], template: str | None = None
) -> list[Row]:
    readable = []
    for row in rows:
        if isinstance(row, dict):
            try:
                readable.append(with_prompt(rename_columns(row, rename), template))
            except BadRow as bad:
                raise PreflabError(f"{path}: {bad.found}", bad.expected) from bad
    return readable


def _count_formats(names: Mapping[str, int]) -> Counter[str]:
    """Format → rows; if some rows are judged, unjudged rows (e.g. with an empty score) count as the same format."""
    judged = Counter({name: number for name, number in names.items() if name not in PLAIN})
    if not judged:
        return Counter(names)
    best, _ = judged.most_common(1)[0]
    judged[best] += sum(number for name, number in names.items() if name in PLAIN)
    return judged


def _refuse(path: Path, rows: list[Row]) -> None:
    """Refuse rows if most of them have a known but unsupported layout, or two kinds of judgment.

    Raises:
        PreflabError: with the layout and what to do.
    """
    reasons = Counter(
        reason for row in rows if (reason := reason_to_refuse(row) or _by_columns(row) or _two_kinds(row))
    )
    reason, number = reasons.most_common(1)[0] if reasons else (None, 0)
    if reason is not None and number > ENOUGH * len(rows):
        raise PreflabError(f"{path}: {reason.found}", reason.expected, reason.do)


def _by_columns(row: Row) -> Reason | None:
    """The reason to refuse a row that is a whole table by columns: each a list, or an object row number → cell."""
    values = list(row.values())
    are_lists = all(isinstance(each, list) for each in values) and len({len(each) for each in values}) == 1
    are_objects = all(isinstance(each, dict) and each for each in values) and all(
        each.keys() == values[0].keys() for each in values
    )
    if len(row) < 2 or not (are_lists or (are_objects and all(str(key).isdigit() for key in values[0]))):
        return None
    texts = [list(row[name]) if are_lists else list(row[name].values()) for name in OF_TEXTS if name in row]
    if not any(each and all(isinstance(cell, str) for cell in each) for each in texts):
        return None
    return Reason(
        f"a table by columns: {', '.join(row)} each hold {'a list' if are_lists else 'an object'} of all rows' values",
        "one object per row",
        'write one object per line, as `df.to_json("rows.jsonl", orient="records", lines=True)` does',
    )


def _refuse_null(path: Path, numbered: list[Numbered], rename: Mapping[str, str]) -> None:
    """Refuse rows that would fit a format but for a null in a column of texts.

    Raises:
        PreflabError: with the line of the first such row.
    """
    for line, row in numbered:
        if isinstance(row, BadRow):
            continue
        row = rename_columns(row, rename)
        nulls = [name for name in OF_TEXTS if name in row and row[name] is None]
        if nulls and not looks_like(row) and looks_like({**row, nulls[0]: "text"}):
            raise PreflabError(
                f"{path}, {unit_of(path)} {line}: the column {nulls[0]!r} holds null",
                f"something in {nulls[0]!r}",
                "correct the rows in which it is null, or remove them",
            )


def _two_kinds(row: Row) -> Reason | None:
    """The reason to refuse a row that fits a format and also one with another kind of judgment."""
    name = looks_like(row)
    judged = [f for f in FORMATS.values() if f.needs and f.name not in PLAIN and has(row, *f.needs)]
    rival = next((each for each in judged if name and not _may_be_both(FORMATS[name], each)), None)
    if rival is None or not FORMATS[name].needs:
        return None
    return Reason(
        f"rows with {', '.join(row)} fit {name} and {rival.name}",
        "one kind of judgment in a row",
        f"name it: --format {name}, or --format {rival.name}",
    )


def _may_be_both(first: Format, second: Format) -> bool:
    """Whether one format needs all columns of the other, or they are a label and scores, which go together."""
    if {first.name, second.name} == {UNPAIRED.name, RATINGS.name}:
        return True
    return set(first.needs) >= set(second.needs) or set(second.needs) >= set(first.needs)


def _unknown(path: Path, rows: list[Row | BadRow], readable: list[Row], known: Counter[str]) -> PreflabError:
    first = plural(len(rows), "row", f"{len(rows):,} rows")
    if known:
        parts = ", ".join(f"{number} like {name}" for name, number in known.most_common())
        seen = f"of the first {first} {parts}, the others like nothing known"
        return PreflabError(f"{path}: {seen}", *_one_format())
    if not readable:
        bad = rows[0]
        assert isinstance(bad, BadRow)
        return PreflabError(f"{path}: the first {first} cannot be read: {bad.found}", bad.expected, _form_of_json(path))
    row = readable[0]
    if turns := _unread_turns(row):
        return PreflabError(f"{path}: {turns.found}", turns.expected, "write the file again")
    seen = f"no known format has the columns {', '.join(row) or 'of an empty row'}"
    if judged_by := told_of(row):
        seen += f"; {' and '.join(judged_by)} {'tells' if len(judged_by) == 1 else 'tell'} of a judgment"
    formats = FORMATS.values()
    advice = advise_respelling(row, formats) or advise_format(row, formats) or advise_unwrapping(row) or _one_format()
    return PreflabError(f"{path}: {seen}", *advice)


def _unread_turns(row: Row) -> BadRow | None:
    """The error for the first column with turns in a text that cannot be parsed; None without any."""
    try:
        refuse_unread_turns(row, tuple(row))
    except BadRow as bad:
        return bad
    return None


def _form_of_json(path: Path) -> str:
    """The advice for rows that cannot be read."""
    written = "write the rows as one list [{…}, {…}], or each on its line" if suffix_of(path) == ".json" else ""
    return written or "correct the file"


def _one_format() -> tuple[str, str]:
    return (
        f"rows of one format: {', '.join(sorted(FORMATS))}",
        "name the format with --format, or rename columns with --column OLD=NEW",
    )
