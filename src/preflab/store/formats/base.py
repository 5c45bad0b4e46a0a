"""What every import format shares: rows to records, equal rows, what became of the columns, problems by line.

A format is a function from one row to records. Strict by default: any bad row stops the import and nothing is loaded;
`skip_bad` leaves bad rows out and reports each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from preflab.errors import PreflabError, nearest
from preflab.progress import progress
from preflab.records import Completion
from preflab.store.formats.asked import refuse_pictures, refuse_unread_turns
from preflab.store.formats.columns import OF_CONVERSATION, Seen, with_defaults
from preflab.store.formats.hub import hub_id
from preflab.store.formats.imported import Imported as Imported
from preflab.store.formats.json_rows import BadRow, Numbered, Problem, Row, object_in
from preflab.store.formats.reading import num_lines, numbered_rows, unit_of
from preflab.store.formats.tables import Cells
from preflab.store.rows import Record
from preflab.words import count

OURS = "preflab_"
"""Columns whose names begin so were added by an export of preflab and are not read back."""
INDEX = re.compile(r"|__index_level_\d+__")
"""Columns in which data frames number their rows: one without a name, and Parquet's."""
SHOWN = 8
"""Problems whose lines an error names."""
MAX_ROWS = 5_000_000
"""Rows a file may have; larger ones are brought in part by part."""
ROWS_PER_TICK = 500
"""Rows between two updates of the progress bar."""
Repeats = Literal["once", "votes", "weight"]
"""What a row is that stands there a second time: nothing new; one more vote; or a second example to learn from."""


@dataclass(frozen=True)
class Parsed:
    """What one row becomes."""

    records: tuple[Record, ...]
    key: Hashable = None
    """What the file calls the row; two different rows may not have the same. None: it does not call it anything."""
    content: Hashable = None
    """What the row says; None: all of it counts. Rows that say the same are counted as repeated."""
    items: tuple[Any, ...] = ()
    """What the format's `finish` makes records of, when they span several rows."""
    demonstrations: tuple[str, ...] = ()
    """Ids of completions that are examples to learn from."""
    left_out: tuple[str, ...] = ()
    """Parts of a good row that cannot become records, each by its reason."""


@dataclass(frozen=True)
class Finished:
    """What came of the items of all rows."""

    records: Sequence[Record]
    left_out: Sequence[str] = ()
    """Parts that cannot become records, each by its reason."""


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
    finish: Callable[[list[Any]], Sequence[Record] | Finished] = lambda items: ()
    """The items of all rows → the records made of them."""
    repeats: Repeats = "once"
    notes: Callable[[Imported], Sequence[str]] = lambda found: ()
    """What is to be said of a file that was read, beyond columns and counts."""
    needs: tuple[str, ...] = ()
    """Columns without which a row is not of this format, for the advice on rows that are of none."""
    columns: str = ""
    """The format's row of the table of formats: its columns."""
    becomes: str = ""
    """And what it becomes."""
    refuses: Callable[[Row], str] = lambda row: ""
    """Of a guessed format: why a row is none of it after all; "" where it may be."""
    holds_objects: Callable[[str], bool] = lambda name: False
    """Whether a column holds objects or lists, which stand as JSON in the cells of a table."""

    def unfolded(self, row: Row) -> Row:
        """The row with the objects and lists that stand as JSON in its cells."""
        names = [name for name, value in row.items() if isinstance(value, str) and self.holds_objects(name)]
        return {**row, **{name: object_in(row[name]) for name in names}} if names else row

    def read(
        self,
        path: Path | str,
        *,
        limit_rows: int | None = None,
        skip_bad: bool = False,
        rename: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        split: str | None = None,
        guessed: bool = False,
    ) -> Imported:
        """Read a file of this format; see `read_as`."""
        return read_as(
            self,
            Path(path),
            limit_rows=limit_rows,
            skip_bad=skip_bad,
            rename=rename,
            defaults=defaults,
            split=split,
            guessed=guessed,
        )


def read_as(
    format: Format,
    path: Path,
    *,
    limit_rows: int | None,
    skip_bad: bool,
    rename: Mapping[str, str] | None,
    defaults: Mapping[str, Any] | None = None,
    split: str | None = None,
    guessed: bool = False,
) -> Imported:
    """Read a file as one format.

    Args:
        format: how its rows are to be understood.
        path: the file, the folder of a data set, or the id of one on the Hub.
        limit_rows: read only so many rows.
        skip_bad: leave bad rows out and report them, instead of refusing the file.
        rename: column of the file → the name the format knows it by.
        defaults: column → the value of rows in which it is missing or empty.
        split: of a folder or data set with several.
        guessed: the format was guessed from the first rows, so that a later row may still speak against it.

    Raises:
        PreflabError: no such file, no rows, a column to rename that is in no row, or (unless `skip_bad`) bad rows: the
            first by line, and how many.
    """
    imported = Imported(format.name, path, unit=unit_of(path))
    reading = _Reading(format, imported, dict(rename or {}), dict(defaults or {}), guessed)
    for numbered in islice(_counted(path, split), limit_rows):
        imported.num_rows += 1
        if imported.num_rows > MAX_ROWS:
            raise PreflabError(f"{path}: more than {count(MAX_ROWS, 'row')}", "fewer", "split the file, or use --limit")
        try:
            reading.take(numbered)
        except BadRow as bad:
            imported.problems.append(Problem(numbered.line, bad.found, bad.expected))
    if not imported.num_rows:
        raise PreflabError(f"{path}: no rows", "at least one row", "see whether it is the right file")
    reading.refuse_unknown_renames()
    if imported.problems and not skip_bad:
        raise problems_in_words(imported)
    return reading.finished(split)


@dataclass
class _Reading:
    """A file under way."""

    format: Format
    found: Imported
    rename: dict[str, str]
    defaults: dict[str, Any]
    guessed: bool
    lines: dict[int, int] = field(default_factory=dict)
    """Hash of what a row says → the first line that says it."""
    names: dict[Hashable, int] = field(default_factory=dict)
    """What the file calls a row → its line."""
    again: Counter[int] = field(default_factory=Counter)
    unique: dict[str, Record] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    columns: set[str] = field(default_factory=set)
    """All columns of the file."""
    num_apostrophes: int = 0

    @cached_property
    def name(self) -> str:
        """What the records' sources call the file; a data set of the Hub has its id."""
        path = self.found.path
        return path.name if path.exists() else hub_id(path)

    def take(self, numbered: Numbered) -> None:
        """One row's records.

        Raises:
            BadRow: it cannot be used.
        """
        if isinstance(numbered.row, BadRow):
            raise numbered.row
        self.columns.update(numbered.row)
        self.found.columns.leave_out(name for name in numbered.row if _is_left_out(name))
        row = with_defaults(self.format.unfolded(renamed(numbered.row, self.rename)), self.defaults)
        refuse_pictures(row)
        refuse_unread_turns(row)
        against = self.format.refuses(row) if self.guessed else ""
        if against:
            raise BadRow(against, f"rows of {self.format.name}, or --format {self.format.name}")
        source = f"{self.name}, {self.found.unit} {numbered.line}"
        parsed = self.format.parse(row, source)
        if parsed.records:
            self._refuse_unread_defaults(row)
        parsed = self._counted(parsed, row, numbered.line)
        for record in parsed.records:
            self.unique.setdefault(record.id, record)
        self.items += parsed.items
        self.found.demonstrations += parsed.demonstrations
        self.found.sources += [source] * len(parsed.demonstrations)
        self.left_out.update(parsed.left_out)
        self.found.columns.add(row, parsed.records)
        if isinstance(numbered.row, Cells):
            self.num_apostrophes += numbered.row.num_apostrophes

    def _refuse_unread_defaults(self, row: Seen) -> None:
        """Refuses a default that makes a conversation of prompts where the format makes none of its rows."""
        unread = sorted(name for name in row.defaulted if name in OF_CONVERSATION and name not in row.read)
        if unread:
            raise PreflabError(
                f"{self.found.path}: a default for `{unread[0]}`, which {self.format.name} has no place for",
                "defaults that the rows' prompts can take",
                "take it out of `defaults`, or write the rows with a column `prompt`",
            )

    def _counted(self, parsed: Parsed, row: Row, line: int) -> Parsed:
        """The row with what its repetition means: nothing new, a vote, or an example of its own."""
        content = hash(parsed.content if parsed.content is not None else repr(list(row.items())))
        earlier = self.lines.setdefault(content, line)
        if earlier == line:
            if parsed.key is not None and self.names.setdefault(parsed.key, line) != line:
                raise BadRow(
                    f"the same id as {self.found.unit} {self.names[parsed.key]}, and other content", "each id once"
                )
            return parsed
        self.found.repeats[line] = earlier
        if self.format.repeats == "once":
            return replace(parsed, items=(), demonstrations=(), left_out=())
        if self.format.repeats == "votes":
            return parsed
        self.again[content] += 1
        return _another(parsed, self.again[content])

    def refuse_unknown_renames(self) -> None:
        """Refuses a column to rename that no row has."""
        for old, new in self.rename.items():
            if old not in self.columns and self.columns:
                near = nearest(old, sorted(self.columns))
                raise PreflabError(
                    f"{self.found.path}: no column {old!r} to be called {new!r}",
                    f"one of {', '.join(sorted(self.columns))}",
                    f"near it: {near}" if near else "",
                )

    def finished(self, split: str | None) -> Imported:
        """All records in order, and what is to be said of the file."""
        imported = self.found
        made = self.format.finish(self.items)
        made = made if isinstance(made, Finished) else Finished(made)
        for record in made.records:
            self.unique.setdefault(record.id, record)
        imported.sort_out(list(self.unique.values()))
        self.left_out.update(made.left_out)
        imported.left_out = dict(sorted(self.left_out.items()))
        imported.notes += how_it_was_read(imported.path, split)
        if self.num_apostrophes:
            imported.notes.append(
                f"an apostrophe before a formula was taken from {count(self.num_apostrophes, 'cell')}"
            )
        imported.notes += self.format.notes(imported)
        return imported


def renamed(row: Row, rename: Mapping[str, str]) -> Row:
    """The row's columns under the names that the format knows; those of an export of ours are not read back."""
    for old, new in rename.items():
        if old in row and new in row and new not in rename:
            raise BadRow(f"the columns {old!r} and {new!r}, which {old!r} is to be called", f"a row without {new!r}")
    return {rename.get(name, name): value for name, value in row.items() if not _is_left_out(name)}


def _is_left_out(name: str) -> bool:
    return name.startswith(OURS) or INDEX.fullmatch(name) is not None


def _another(parsed: Parsed, index: int) -> Parsed:
    """The same with the examples as records of their own, told apart by their index."""
    records: list[Record] = []
    ids: dict[str, str] = {}
    for record in parsed.records:
        if isinstance(record, Completion) and record.id in parsed.demonstrations:
            columns, spans = record.columns, record.spans
            made = Completion.make(
                record.prompt_id, "", record.model, index=index, spans=spans, columns=columns,
                finish_reason=record.finish_reason,
            )  # fmt: skip
            ids[record.id] = made.id
            records.append(made)
        else:
            records.append(record)
    return replace(parsed, records=tuple(records), demonstrations=tuple(ids[i] for i in parsed.demonstrations))


def how_it_was_read(path: Path, split: str | None) -> list[str]:
    """What was concluded about the file itself: its delimiter, or which of its files were read."""
    from preflab.store.formats.folders import SAVED, chosen_files, splits_of
    from preflab.store.formats.reading import kind_of_path
    from preflab.store.formats.tables import said_of_table

    kind = kind_of_path(path)
    if kind == "table":
        return said_of_table(path)
    if kind == "folder":
        files = chosen_files(path, split)
        name = split or next(iter(splits_of(path)))
        if (path / SAVED).is_file():  # a saved data set is one split, called as the folder is
            return []
        return [f"the split {name}: {', '.join(file.relative_to(path).as_posix() for file in files[:SHOWN])}"]
    return []


def problems_in_words(found: Imported) -> PreflabError:
    """The one error for all bad rows of a file: the first in full, the next by line, and how many."""
    first, *others = found.problems
    named = ", ".join(str(problem.line) for problem in others[:SHOWN])
    more = f"; {count(len(others), f'more bad {found.unit}')}: {named}{', …' * (len(others) > SHOWN)}" if others else ""
    return PreflabError(
        f"{found.path}, {found.unit} {first.line}: {first.found}{more}",
        first.expected,
        "mend them, or leave bad rows out with --skip-bad; nothing was loaded",
    )


def _counted(path: Path, split: str | None) -> Iterator[Numbered]:
    """The rows of a file, with a bar that counts them."""
    rows = numbered_rows(path, split)
    with progress(f"read {path.name}", num_lines(path)) as bar:
        for number, row in enumerate(rows, 1):
            yield row
            if number % ROWS_PER_TICK == 0:
                bar.advance(ROWS_PER_TICK)
