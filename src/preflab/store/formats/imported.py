"""What came of reading a file: its records, what became of its columns and rows, and how that is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflab.records import Campaign, Completion, Judgment, Labeler, Preference, Prompt, Task
from preflab.store.formats.columns import Seen, blank
from preflab.store.formats.json_rows import Problem
from preflab.store.rows import Record
from preflab.words import count

NAMED = 8
"""Repeated rows that are named by line."""


@dataclass
class Columns:
    """What became of a file's columns."""

    used: dict[str, str] = field(default_factory=dict)
    """Column → what it was read as."""
    kept: set[str] = field(default_factory=set)
    """Those that stay with a prompt or a completion as they are."""
    seen: set[str] = field(default_factory=set)
    """All that held something in some row."""
    empty: set[str] = field(default_factory=set)
    """All that held nothing in some row."""

    def add(self, row: Seen, records: Iterable[Record]) -> None:
        """One row, after it was read."""
        for name, value in row.items():
            if blank(value):
                self.empty.add(name)
            else:
                self.seen.add(name)
                if name in row.read:
                    self.used.setdefault(name, row.read[name])
        for record in records:
            if isinstance(record, Prompt | Completion):
                self.kept.update(record.columns)

    def leave_out(self, names: Iterable[str]) -> None:
        """Columns that no format is shown: those of an export of ours, and numbers of rows."""
        self.seen.update("preflab_…" if name.startswith("preflab_") else name or "(no name)" for name in names)

    @property
    def left_out(self) -> list[str]:
        """Those that nobody read and no record has."""
        return sorted(self.seen - self.used.keys() - self.kept)

    def to_json(self) -> dict[str, Any]:
        """Used (column → what as), kept, left out, and those that were empty in every row."""
        return {
            "used": {name: self.used[name] for name in sorted(self.used)},
            "kept": sorted((self.kept & self.seen) - self.used.keys()),
            "left_out": self.left_out,
            "empty": sorted(self.empty - self.seen),
        }

    def lines(self) -> list[str]:
        """One line for each kind of columns there is."""
        columns = self.to_json()
        used = [
            name if name == canonical else f"{name} (as {canonical})" for name, canonical in columns["used"].items()
        ]
        parts = {
            "columns used": used,
            "kept with the records": columns["kept"],
            "left out": columns["left_out"],
            "empty": columns["empty"],
        }
        return [f"{kind}: {', '.join(names)}" for kind, names in parts.items() if names]


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
    """Ids of those completions that are examples to learn from, as often as they stand there."""
    sources: list[str] = field(default_factory=list)
    """Where each of them stands."""
    problems: list[Problem] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason → how many parts of good rows could not become records, e.g. replies without a rank."""
    num_rows: int = 0
    """Rows read, bad ones included."""
    unit: str = "line"
    """What a problem's number counts: lines, or rows of Parquet."""
    columns: Columns = field(default_factory=Columns)
    repeats: dict[int, int] = field(default_factory=dict)
    """Line of a row that says what an earlier one says → the first such line."""
    notes: list[str] = field(default_factory=list)
    """What was concluded where names alone do not tell."""

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

    def sort_out(self, records: Sequence[Record]) -> None:
        """Put every record into its list."""
        places: Mapping[type, list[Any]] = {
            Prompt: self.prompts,
            Completion: self.completions,
            Preference: self.preferences,
            Labeler: self.labelers,
            Campaign: self.campaigns,
            Task: self.tasks,
            Judgment: self.judgments,
        }
        for record in records:
            places[type(record)].append(record)

    def lines(self) -> list[str]:
        """What is worth saying once per file: columns, equal rows, what was concluded and what was left out."""
        lines = [*self.columns.lines(), *self.notes]
        if self.repeats:
            lines.append(repeats_in_words(self.repeats, self.unit))
        return lines + [f"left out of the rows taken: {number:,} {reason}" for reason, number in self.left_out.items()]


def repeats_in_words(repeats: Mapping[int, int], unit: str) -> str:
    """`2 rows that stand there before: line 3 (as line 1), …`."""
    named = [f"{line} (as {unit} {earlier})" for line, earlier in list(repeats.items())[:NAMED]]
    more = ", …" * (len(repeats) > NAMED)
    return f"{count(len(repeats), 'row')} equal to an earlier one: {unit} {', '.join(named)}{more}"
