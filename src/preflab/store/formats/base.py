"""Shared by all import formats: reading rows into records, repeated rows, the use of columns, problems by line.

A format is a function from one row to records. By default any bad row stops the import and nothing is loaded;
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
from preflab.store.formats.delimited import Cells
from preflab.store.formats.hub import hub_id
from preflab.store.formats.imported import Imported as Imported
from preflab.store.formats.json_rows import BadRow, Numbered, Problem, Row, object_in
from preflab.store.formats.prompt_template import with_prompt
from preflab.store.formats.row_reading import num_lines, numbered_rows, unit_of
from preflab.store.rows import Record
from preflab.words import count

OURS = "preflab_"
"""Prefix of columns that an export of preflab added; they are not read back."""
INDEX = re.compile(r"|__index_level_\d+__")
"""Columns with the row numbers of data frames: one without a name, and Parquet's."""
SHOWN = 8
"""The most further problems, or files, that a message names."""
MAX_ROWS = 5_000_000
"""The most rows of a file; larger files have to be split."""
ROWS_PER_TICK = 500
"""Rows between two updates of the progress bar."""
Repeats = Literal["once", "votes", "weight"]
"""What a repeated row means: nothing (`once`), one more vote (`votes`), or one more example to learn (`weight`)."""


@dataclass(frozen=True)
class Parsed:
    """The result of parsing one row."""

    records: tuple[Record, ...]
    key: Hashable = None
    """The row's id in the file, or None; two rows with different content may not have the same."""
    content: Hashable = None
    """Rows with equal content count as repeated; None: the whole row is its content."""
    items: tuple[Any, ...] = ()
    """Input of the format's `finish`, which makes records that depend on several rows."""
    demonstrations: tuple[str, ...] = ()
    """Ids of completions that are examples to learn from."""
    left_out: tuple[str, ...] = ()
    """One reason for each part of a good row that cannot become a record."""


@dataclass(frozen=True)
class Finished:
    """The records made from the items of all rows."""

    records: Sequence[Record]
    left_out: Sequence[str] = ()
    """One reason for each part that cannot become a record."""


@dataclass(frozen=True)
class Format:
    """One format that can be read."""

    name: str
    about: str
    """One line for the list of formats."""
    parse: Callable[[Row, str], Parsed]
    """Function from a row and its source to records; raises BadRow."""
    looks_like: Callable[[Row], bool]
    """True for a row that has this format's columns."""
    finish: Callable[[list[Any]], Sequence[Record] | Finished] = lambda items: ()
    """Function from the items of all rows to records."""
    repeats: Repeats = "once"
    notes: Callable[[Imported], Sequence[str]] = lambda imported: ()
    """Further lines for the user about a file that was read, in addition to columns and counts."""
    needs: tuple[str, ...] = ()
    """The format's names of the columns that a row must have, for the advice on rows that fit no format."""
    columns: str = ""
    """The columns, for the table of formats in the documentation."""
    becomes: str = ""
    """The records that rows become, for the same table."""
    refuses: Callable[[Row], str] = lambda row: ""
    """For a guessed format: the reason why a row contradicts the guess, or ""."""
    holds_objects: Callable[[str], bool] = lambda name: False
    """Whether a column holds objects or lists, which are JSON text in the cells of a table."""

    def parse_cells(self, row: Row) -> Row:
        """The row with JSON text parsed in the columns that hold objects and lists."""
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
        template: str | None = None,
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
            template=template,
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
    template: str | None = None,
    guessed: bool = False,
) -> Imported:
    """Read a file as one format.

    Args:
        format: of the rows.
        path: the file, the folder of a data set, or the id of one on the Hub.
        limit_rows: the most rows to read.
        skip_bad: leave bad rows out and report them, instead of refusing the file.
        rename: column of the file → the name that the format expects.
        defaults: column → the value for rows in which it is missing or empty.
        split: the split to read, if the folder or data set has several.
        guessed: whether the format was guessed from the first rows, so that a later row may contradict it.

    Raises:
        PreflabError: no such file, no rows, a column to rename that no row has, or (unless `skip_bad`) bad rows; the
            error describes the first one and counts the others.
    """
    imported = Imported(format.name, path, unit=unit_of(path))
    reading = _Reading(format, imported, dict(rename or {}), dict(defaults or {}), template, guessed)
    for numbered in islice(_rows_with_progress(path, split), limit_rows):
        imported.num_rows += 1
        if imported.num_rows > MAX_ROWS:
            raise PreflabError(f"{path}: more than {count(MAX_ROWS, 'row')}", "fewer", "split the file, or use --limit")
        try:
            reading.add_row(numbered)
        except BadRow as bad:
            imported.problems.append(Problem(numbered.line, bad.found, bad.expected))
    if not imported.num_rows:
        raise PreflabError(f"{path}: no rows", "at least one row", "see whether it is the right file")
    reading.refuse_unknown_renames()
    if imported.problems and not skip_bad:
        raise describe_problems(imported)
    return reading.finish(split)


@dataclass
class _Reading:
    """The state of reading a file row by row."""

    format: Format
    imported: Imported
    rename: dict[str, str]
    defaults: dict[str, Any]
    template: str | None
    guessed: bool
    content_lines: dict[int, int] = field(default_factory=dict)
    """Hash of a row's content → the first line with it."""
    key_lines: dict[Hashable, int] = field(default_factory=dict)
    """A row's id in the file (`Parsed.key`) → its line."""
    num_repeats: Counter[int] = field(default_factory=Counter)
    """Hash of a row's content → the number of its repetitions."""
    unique: dict[str, Record] = field(default_factory=dict)
    """Id → record."""
    items: list[Any] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    columns: set[str] = field(default_factory=set)
    """All columns of the file."""
    num_apostrophes: int = 0

    @cached_property
    def name(self) -> str:
        """The file's name in the sources of records; the id for a data set of the Hub."""
        path = self.imported.path
        return path.name if path.exists() else hub_id(path)

    def add_row(self, numbered: Numbered) -> None:
        """Parse one row and add its records.

        Raises:
            BadRow: the row cannot be used.
        """
        if isinstance(numbered.row, BadRow):
            raise numbered.row
        self.columns.update(numbered.row)
        self.imported.columns.leave_out(name for name in numbered.row if _is_left_out(name))
        renamed = with_prompt(rename_columns(numbered.row, self.rename), self.template)
        row = with_defaults(self.format.parse_cells(renamed), self.defaults)
        refuse_pictures(row)
        refuse_unread_turns(row)
        contradiction = self.format.refuses(row) if self.guessed else ""
        if contradiction:
            raise BadRow(contradiction, f"rows of {self.format.name}, or --format {self.format.name}")
        source = f"{self.name}, {self.imported.unit} {numbered.line}"
        parsed = self.format.parse(row, source)
        if parsed.records:
            self._refuse_unread_defaults(row)
        parsed = self._treat_repeat(parsed, row, numbered.line)
        for record in parsed.records:
            self.unique.setdefault(record.id, record)
        self.items += parsed.items
        self.imported.demonstrations += parsed.demonstrations
        self.imported.sources += [source] * len(parsed.demonstrations)
        self.left_out.update(parsed.left_out)
        self.imported.columns.add(row, parsed.records)
        if isinstance(numbered.row, Cells):
            self.num_apostrophes += numbered.row.num_apostrophes

    def _refuse_unread_defaults(self, row: Seen) -> None:
        """Refuse a default for a conversation's column (system turn, tools, …) that the format did not read."""
        unread = sorted(name for name in row.defaulted if name in OF_CONVERSATION and name not in row.read)
        if unread:
            raise PreflabError(
                f"{self.imported.path}: a default for `{unread[0]}`, which {self.format.name} does not read",
                "defaults for columns that the format reads",
                "take it out of `defaults`, or write the rows with a column `prompt`",
            )

    def _treat_repeat(self, parsed: Parsed, row: Row, line: int) -> Parsed:
        """The row as its format treats it (`Format.repeats`) if it repeats an earlier one; else unchanged."""
        content = hash(parsed.content if parsed.content is not None else repr(list(row.items())))
        earlier = self.content_lines.setdefault(content, line)
        if earlier == line:
            if parsed.key is not None and self.key_lines.setdefault(parsed.key, line) != line:
                raise BadRow(
                    f"the same id as {self.imported.unit} {self.key_lines[parsed.key]}, and other content",
                    "each id once",
                )
            return parsed
        self.imported.repeats[line] = earlier
        if self.format.repeats == "once":
            return replace(parsed, items=(), demonstrations=(), left_out=())
        if self.format.repeats == "votes":
            return parsed
        self.num_repeats[content] += 1
        return _duplicate_examples(parsed, self.num_repeats[content])

    def refuse_unknown_renames(self) -> None:
        """Refuse a column to rename that no row has."""
        for old, new in self.rename.items():
            if old not in self.columns and self.columns:
                near = nearest(old, sorted(self.columns))
                raise PreflabError(
                    f"{self.imported.path}: no column {old!r} to rename to {new!r}",
                    f"one of {', '.join(sorted(self.columns))}",
                    f"near it: {near}" if near else "",
                )

    def finish(self, split: str | None) -> Imported:
        """The result, with all records in the order of their rows and the notes for the user."""
        imported = self.imported
        finished = self.format.finish(self.items)
        finished = finished if isinstance(finished, Finished) else Finished(finished)
        for record in finished.records:
            self.unique.setdefault(record.id, record)
        imported.add_records(list(self.unique.values()))
        self.left_out.update(finished.left_out)
        imported.left_out = dict(sorted(self.left_out.items()))
        imported.notes += describe_source(imported.path, split)
        if self.num_apostrophes:
            imported.notes.append(
                f"an apostrophe before a formula was taken from {count(self.num_apostrophes, 'cell')}"
            )
        imported.notes += self.format.notes(imported)
        return imported


def rename_columns(row: Row, rename: Mapping[str, str]) -> Row:
    """The row with renamed columns, without row numbers and columns that an export of preflab added.

    Raises:
        BadRow: the row has both the old and the new name.
    """
    for old, new in rename.items():
        if old in row and new in row and new not in rename:
            raise BadRow(f"a column {old!r} to rename to {new!r}, and a column {new!r}", f"a row without {new!r}")
    return {rename.get(name, name): value for name, value in row.items() if not _is_left_out(name)}


def _is_left_out(name: str) -> bool:
    return name.startswith(OURS) or INDEX.fullmatch(name) is not None


def _duplicate_examples(parsed: Parsed, index: int) -> Parsed:
    """The parsed row with its demonstrations as new records, which differ from the earlier ones by their index."""
    records: list[Record] = []
    ids: dict[str, str] = {}
    for record in parsed.records:
        if isinstance(record, Completion) and record.id in parsed.demonstrations:
            columns, spans = record.columns, record.spans
            duplicate = Completion.make(
                record.prompt_id, "", record.model, index=index, spans=spans, columns=columns,
                finish_reason=record.finish_reason,
            )  # fmt: skip
            ids[record.id] = duplicate.id
            records.append(duplicate)
        else:
            records.append(record)
    return replace(parsed, records=tuple(records), demonstrations=tuple(ids[i] for i in parsed.demonstrations))


def describe_source(path: Path, split: str | None) -> list[str]:
    """Notes on how the file was read: its delimiter, or the files of the split."""
    from preflab.store.formats.delimited import describe_table
    from preflab.store.formats.folders import SAVED, choose_files, splits_of
    from preflab.store.formats.row_reading import kind_of_path

    kind = kind_of_path(path)
    if kind == "table":
        return describe_table(path)
    if kind == "folder":
        files = choose_files(path, split)
        name = split or next(iter(splits_of(path)))
        if (path / SAVED).is_file():  # a saved data set is a single split with the folder's name
            return []
        return [f"the split {name}: {', '.join(file.relative_to(path).as_posix() for file in files[:SHOWN])}"]
    return []


def describe_problems(imported: Imported) -> PreflabError:
    """One error for all bad rows of a file: the first in full, the number of others, and the lines of some."""
    first, *others = imported.problems
    unit, lines = imported.unit, ", ".join(str(problem.line) for problem in others[:SHOWN])
    more = f"; {count(len(others), f'more bad {unit}')}: {lines}{', …' * (len(others) > SHOWN)}" if others else ""
    return PreflabError(
        f"{imported.path}, {unit} {first.line}: {first.found}{more}",
        first.expected,
        "correct them, or leave bad rows out with --skip-bad; nothing was loaded",
    )


def _rows_with_progress(path: Path, split: str | None) -> Iterator[Numbered]:
    """The rows of a file, counted by a progress bar."""
    rows = numbered_rows(path, split)
    with progress(f"read {path.name}", num_lines(path)) as bar:
        for number, row in enumerate(rows, 1):
            yield row
            if number % ROWS_PER_TICK == 0:
                bar.advance(ROWS_PER_TICK)
