"""What every import format shares: rows to records, duplicates, and problems by line.

A format is a function from one row to records. Strict by default: any bad row stops the import and nothing is loaded;
`skip_bad` leaves bad rows out and reports each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.progress import progress
from preflab.records import Campaign, Completion, Judgment, Labeler, Preference, Prompt, Task
from preflab.store.formats.reading import BadRow, Numbered, Problem, Row, num_lines, numbered_rows, unit_of
from preflab.store.rows import Record

OURS = "preflab_"
"""Columns whose names begin so were added by an export of preflab and are not read back."""
SHOWN = 8
"""Problems whose lines an error names."""
MAX_ROWS = 5_000_000
"""Rows a file may have; larger ones are brought in part by part."""
ROWS_PER_TICK = 500
"""Rows between two updates of the progress bar."""


@dataclass(frozen=True)
class Parsed:
    """What one row becomes."""

    records: tuple[Record, ...]
    key: Hashable = None
    """Two rows with equal keys are one row written twice; None: such a thing cannot be told."""
    items: tuple[Any, ...] = ()
    """What the format's `finish` makes preferences of, when they span several rows."""
    demonstrations: tuple[str, ...] = ()
    """Ids of completions that are examples to learn from."""
    left_out: tuple[str, ...] = ()
    """Parts of a good row that cannot become records, each by its reason."""


@dataclass(frozen=True)
class Format:
    """One format that can be read."""

    name: str
    about: str
    """One line for the list of formats."""
    parse: Callable[[Row, str], Parsed]
    """A row and its source → records; raises BadRow."""
    looks_like: Callable[[Row], bool]
    """True for a row that has this format's columns."""
    finish: Callable[[list[Any]], Sequence[Record]] = lambda items: ()
    """The items of all rows → the records made of them."""

    def read(
        self,
        path: Path | str,
        *,
        limit_rows: int | None = None,
        skip_bad: bool = False,
        rename: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> Imported:
        """Read a file of this format; see `read_as`."""
        return read_as(
            self, Path(path), limit_rows=limit_rows, skip_bad=skip_bad, rename=rename, defaults=defaults or {}
        )


@dataclass
class Imported:
    """The records of a file, in the order of its rows, each once."""

    format: str
    path: Path
    prompts: list[Prompt] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    labelers: list[Labeler] = field(default_factory=list)
    campaigns: list[Campaign] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    demonstrations: list[str] = field(default_factory=list)
    """Ids of those completions that are examples to learn from, as often as they stand in the file."""
    sources: list[str] = field(default_factory=list)
    """Where each of them stands."""
    problems: list[Problem] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason → how many parts of good rows could not become records, e.g. replies without a rank."""
    num_rows: int = 0
    """Rows read, bad ones included."""
    unit: str = "line"
    """What a problem's number counts: lines, or rows of Parquet."""

    def records(self) -> list[Record]:
        """All records."""
        return [
            *self.prompts,
            *self.completions,
            *self.labelers,
            *self.campaigns,
            *self.tasks,
            *self.judgments,
            *self.preferences,
        ]


def read_as(
    format: Format,
    path: Path,
    *,
    limit_rows: int | None,
    skip_bad: bool,
    rename: Mapping[str, str] | None,
    defaults: Mapping[str, Any],
) -> Imported:
    """Read a file as one format.

    Args:
        format: how its rows are to be understood.
        path: the file, or the folder of a Hugging Face data set.
        limit_rows: read only so many rows.
        skip_bad: leave bad rows out and report them, instead of refusing the file.
        rename: column of the file → the name the format knows it by.
        defaults: column → the value of rows that lack it.

    Raises:
        PreflabError: no such file, no rows, or (unless `skip_bad`) bad rows: the first by line, and how many.
    """
    found = Imported(format.name, path, unit=unit_of(path) if path.exists() else "line")
    seen: dict[Hashable, int] = {}
    unique: dict[str, Record] = {}
    items: list[Any] = []
    left_out: Counter[str] = Counter()
    for numbered in islice(_counted(path), limit_rows):
        found.num_rows += 1
        if found.num_rows > MAX_ROWS:
            raise PreflabError(f"{path}: more than {MAX_ROWS:,} rows", "fewer", "split the file, or use --limit")
        try:
            source = f"{path.name}, {found.unit} {numbered.line}"
            parsed = _parse(format, numbered, source, rename or {}, defaults)
            _refuse_duplicate(parsed, numbered.line, seen, found.unit)
        except BadRow as bad:
            found.problems.append(Problem(numbered.line, bad.found, bad.expected))
            continue
        for record in parsed.records:
            unique.setdefault(record.id, record)
        items += parsed.items
        found.demonstrations += parsed.demonstrations
        found.sources += [source] * len(parsed.demonstrations)
        left_out.update(parsed.left_out)
    if found.problems and not skip_bad:
        raise problems_in_words(found)
    _sort_out(found, [*unique.values(), *format.finish(items)])
    found.left_out = dict(sorted(left_out.items()))
    if not found.num_rows:
        raise PreflabError(f"{path}: no rows", "at least one row", "see whether it is the right file")
    return found


def problems_in_words(found: Imported) -> PreflabError:
    """The one error for all bad rows of a file: the first in full, the next by line, and how many."""
    first, *others = found.problems
    named = ", ".join(str(problem.line) for problem in others[:SHOWN])
    more = (
        f"; {len(others)} more bad {found.unit}{'s' * (len(others) > 1)}: {named}{', …' * (len(others) > SHOWN)}"
        if others
        else ""
    )
    return PreflabError(
        f"{found.path}, {found.unit} {first.line}: {first.found}{more}",
        first.expected,
        "mend them, or leave bad rows out with --skip-bad; nothing was loaded",
    )


def _counted(path: Path) -> Iterator[Numbered]:
    """The rows of a file, with a bar that counts them."""
    rows = numbered_rows(path)
    with progress(f"read {path.name}", num_lines(path) if path.exists() else None) as bar:
        for number, row in enumerate(rows, 1):
            yield row
            if number % ROWS_PER_TICK == 0:
                bar.advance(ROWS_PER_TICK)


def _parse(
    format: Format, numbered: Numbered, source: str, rename: Mapping[str, str], defaults: Mapping[str, Any]
) -> Parsed:
    if isinstance(numbered.row, BadRow):
        raise numbered.row
    row = {rename.get(name, name): value for name, value in numbered.row.items() if not name.startswith(OURS)}
    return format.parse({**defaults, **row}, source)


def _refuse_duplicate(parsed: Parsed, line: int, seen: dict[Hashable, int], unit: str) -> None:
    if parsed.key is None:
        return
    earlier = seen.setdefault(parsed.key, line)
    if earlier != line:
        raise BadRow(f"the same as {unit} {earlier}", "each row once")


def _sort_out(found: Imported, records: Sequence[Record]) -> None:
    places: dict[type, list[Any]] = {
        Prompt: found.prompts,
        Completion: found.completions,
        Preference: found.preferences,
        Labeler: found.labelers,
        Campaign: found.campaigns,
        Task: found.tasks,
        Judgment: found.judgments,
    }
    for record in records:
        places[type(record)].append(record)
