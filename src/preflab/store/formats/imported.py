"""The result of reading a file: its records, the use of its columns, repeated rows, and lines for the user."""

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
"""The most repeated rows that are named by line."""


@dataclass
class Columns:
    """How the columns of a file were used, collected over its rows."""

    used: dict[str, str] = field(default_factory=dict)
    """Column that the format read → the format's name for it."""
    kept: set[str] = field(default_factory=set)
    """Columns stored unchanged with a prompt or a completion."""
    seen: set[str] = field(default_factory=set)
    """Columns with a value in at least one row."""
    empty: set[str] = field(default_factory=set)
    """Columns without a value in at least one row."""

    def add(self, row: Seen, records: Iterable[Record]) -> None:
        """Add one row after it was parsed into these records."""
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
        """Add columns that are removed before parsing: those that an export of preflab added, and row numbers."""
        self.seen.update("preflab_…" if name.startswith("preflab_") else name or "(no name)" for name in names)

    @property
    def left_out(self) -> list[str]:
        """The columns with values that the format did not read and that no record keeps, sorted."""
        return sorted(self.seen - self.used.keys() - self.kept)

    def to_json(self) -> dict[str, Any]:
        """`used` (column → its name in the format), `kept`, `left_out`, and `empty` (without a value in any row)."""
        return {
            "used": {name: self.used[name] for name in sorted(self.used)},
            "kept": sorted((self.kept & self.seen) - self.used.keys()),
            "left_out": self.left_out,
            "empty": sorted(self.empty - self.seen),
        }

    def lines(self) -> list[str]:
        """One line of text for each of these groups that is not empty."""
        columns = self.to_json()
        used = [
            name if name == canonical else f"{name} (as {canonical})" for name, canonical in columns["used"].items()
        ]
        parts = {
            "columns used": used,
            "kept with the records": columns["kept"],
            "columns left out": columns["left_out"],
            "empty": columns["empty"],
        }
        return [f"{kind}: {', '.join(names)}" for kind, names in parts.items() if names]


@dataclass
class Imported:
    """The records of a file in the order of its rows, each once, with a report for the user."""

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
    """Ids of the completions that are examples to learn from, one for each row."""
    sources: list[str] = field(default_factory=list)
    """File and line of each demonstration."""
    problems: list[Problem] = field(default_factory=list)
    """Bad rows."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason → number of parts of good rows that could not become records, e.g. replies without a rank."""
    num_rows: int = 0
    """Number of rows read, including bad ones."""
    unit: str = "line"
    """The unit of line numbers: `line`, `item` of a JSON list, or `row` of Parquet."""
    columns: Columns = field(default_factory=Columns)
    repeats: dict[int, int] = field(default_factory=dict)
    """Line of a row that repeats an earlier row → the line of the first such row."""
    notes: list[str] = field(default_factory=list)
    """Assumptions made in reading, in words."""

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

    def add_records(self, records: Sequence[Record]) -> None:
        """Append every record to the list of its kind."""
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
        """The report for the user: columns, notes, repeated rows and what was left out."""
        lines = [*self.columns.lines(), *self.notes]
        if self.repeats:
            lines.append(describe_repeats(self.repeats, self.unit))
        return lines + [f"left out of the rows taken: {number:,} {reason}" for reason, number in self.left_out.items()]


def describe_repeats(repeats: Mapping[int, int], unit: str) -> str:
    """`2 rows equal to an earlier one: line 3 (as line 1), …`."""
    named = [f"{line} (as {unit} {earlier})" for line, earlier in list(repeats.items())[:NAMED]]
    more = ", …" * (len(repeats) > NAMED)
    return f"{count(len(repeats), 'row')} equal to an earlier one: {unit} {', '.join(named)}{more}"
