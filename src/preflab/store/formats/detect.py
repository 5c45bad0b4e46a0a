"""Guesses a file's format from its first rows, and says how sure it is; what fits nothing, or two things, is refused.

A row is of the first format that fits it, the most particular ones first. Rows that tell of a judgment are never taken
for prompts, demonstrations or texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from preflab.errors import PreflabError
from preflab.store.formats.advice import advised, respelt, wrapped
from preflab.store.formats.asked import refuse_unread_turns
from preflab.store.formats.base import Format, renamed
from preflab.store.formats.columns import COMPLETIONS, PROMPTS, has
from preflab.store.formats.file_kinds import suffix_of
from preflab.store.formats.json_rows import BadRow, Numbered, Row
from preflab.store.formats.prompts import PLAIN, told_of
from preflab.store.formats.rated import RATINGS, UNPAIRED
from preflab.store.formats.reading import numbered_rows, unit_of
from preflab.store.formats.refused import Reason, reason_to_refuse
from preflab.store.formats.registry import FORMATS
from preflab.words import plural

FIRST_ROWS = 20
OF_TEXTS = (*PROMPTS, *COMPLETIONS, "chosen", "rejected", "text")
"""Columns that hold one text in a row."""
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


def detect(path: Path | str, *, rename: Mapping[str, str] | None = None, split: str | None = None) -> Guess:
    """The format that most of the first rows have.

    Raises:
        PreflabError: no such file, no rows, rows of a layout that is not read, or rows that look like nothing known or
            like several formats.
    """
    path = Path(path)
    numbered = list(islice(numbered_rows(path, split), FIRST_ROWS))
    rows = [row for _, row in numbered]
    if not rows:
        raise PreflabError(f"{path}: no rows", "at least one row", "see whether it is the right file")
    readable = _readable(path, rows, rename or {})
    _refuse(path, readable)
    names = Counter(looks_like(row) for row in readable)
    known = _counted({name: number for name, number in names.items() if name})
    best, number = known.most_common(1)[0] if known else ("", 0)
    if number <= ENOUGH * len(readable):
        _refuse_null(path, numbered, rename or {})
        raise _unknown(path, rows, readable, known)
    return Guess(best, number / len(readable), len(readable))


def looks_like(row: Row) -> str:
    """The format that a row has the columns of; "" for none."""
    fitting = [format for format in FORMATS.values() if format.looks_like(format.unfolded(row))]
    return fitting[0].name if fitting else ""


def _readable(path: Path, rows: list[Row | BadRow], rename: Mapping[str, str]) -> list[Row]:
    readable = []
    for row in rows:
        if isinstance(row, dict):
            try:
                readable.append(renamed(row, rename))
            except BadRow as bad:
                raise PreflabError(f"{path}: {bad.found}", bad.expected) from bad
    return readable


def _counted(names: Mapping[str, int]) -> Counter[str]:
    """Format → rows; rows without their judgment (an empty score) count as the judged ones beside them."""
    judged = Counter({name: number for name, number in names.items() if name not in PLAIN})
    if not judged:
        return Counter(names)
    best, _ = judged.most_common(1)[0]
    judged[best] += sum(number for name, number in names.items() if name in PLAIN)
    return judged


def _refuse(path: Path, rows: list[Row]) -> None:
    """Refuses rows most of which are of a known layout nobody reads here, or of two kinds of judgment at once.

    Raises:
        PreflabError: which, and what to do.
    """
    reasons = Counter(
        reason for row in rows if (reason := reason_to_refuse(row) or _by_columns(row) or _two_kinds(row))
    )
    reason, number = reasons.most_common(1)[0] if reasons else (None, 0)
    if reason is not None and number > ENOUGH * len(rows):
        raise PreflabError(f"{path}: {reason.found}", reason.expected, reason.do)


def _by_columns(row: Row) -> Reason | None:
    """Why a row is refused that is a whole table: one list a column, or one object from row numbers to cells."""
    held = list(row.values())
    listed = all(isinstance(each, list) for each in held) and len({len(each) for each in held}) == 1
    numbered = all(isinstance(each, dict) and each for each in held) and all(
        each.keys() == held[0].keys() for each in held
    )
    if len(row) < 2 or not (listed or (numbered and all(str(key).isdigit() for key in held[0]))):
        return None
    texts = [list(row[name]) if listed else list(row[name].values()) for name in OF_TEXTS if name in row]
    if not any(each and all(isinstance(cell, str) for cell in each) for each in texts):
        return None
    return Reason(
        f"a table by columns: {', '.join(row)} each hold {'a list' if listed else 'an object'} of all rows' values",
        "one object per row",
        'write one object a line, as `df.to_json("rows.jsonl", orient="records", lines=True)` does',
    )


def _refuse_null(path: Path, numbered: list[Numbered], rename: Mapping[str, str]) -> None:
    """Refuses rows that would fit a format if it were not for a null in a column of texts.

    Raises:
        PreflabError: the first such row, by its line.
    """
    for line, row in numbered:
        if isinstance(row, BadRow):
            continue
        row = renamed(row, rename)
        nulls = [name for name in OF_TEXTS if name in row and row[name] is None]
        if nulls and not looks_like(row) and looks_like({**row, nulls[0]: "text"}):
            raise PreflabError(
                f"{path}, {unit_of(path)} {line}: the column {nulls[0]!r} holds null",
                f"something in {nulls[0]!r}",
                "mend the rows in which it is null, or take them out",
            )


def _two_kinds(row: Row) -> Reason | None:
    """Why a row is refused that fits its format and another one that tells of another kind of judgment."""
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
    """Whether one is a special case of the other: all its columns, and more. A label may stand beside scores."""
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
    if told := told_of(row):
        seen += f"; {' and '.join(told)} {'tells' if len(told) == 1 else 'tell'} of a judgment"
    formats = FORMATS.values()
    advice = respelt(row, formats) or advised(row, formats) or wrapped(row) or _one_format()
    return PreflabError(f"{path}: {seen}", *advice)


def _unread_turns(row: Row) -> BadRow | None:
    """What is said of a column whose text is turns that cannot be read."""
    try:
        refuse_unread_turns(row, tuple(row))
    except BadRow as bad:
        return bad
    return None


def _form_of_json(path: Path) -> str:
    """What to do about rows that cannot be read."""
    written = "write the rows as one list [{…}, {…}], or each on its line" if suffix_of(path) == ".json" else ""
    return written or "mend the file"


def _one_format() -> tuple[str, str]:
    return (
        f"rows of one format: {', '.join(sorted(FORMATS))}",
        "name the format with --format, or rename columns with --column OLD=NEW",
    )
