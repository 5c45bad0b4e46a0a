"""The labelling form as data: groups of radios, fields by place on the page, and what is still missing.

Fields are named by the place on the page, never by the task's order, so that the page does not give that order away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Option:
    """One radio: what it sends, what it shows, what a screen reader says, the key that picks it."""

    value: str
    label: str
    spoken: str
    key: str


@dataclass(frozen=True)
class Group:
    """One question with one answer: about the completion at `place`, or about all of them when `place` is None."""

    name: str
    title: str
    wants: str
    """What is missing while it is open: "a rank"."""
    options: tuple[Option, ...]
    place: int | None = None
    low: str = ""
    high: str = ""
    step: int | None = None
    """Of a form in two steps: 0 or 1."""
    ranks: bool = False
    excused: str = ""
    """A question about all needs no answer when `any` or `all` completions failed."""


@dataclass(frozen=True)
class Asked:
    """What the form needs to know of a turn."""

    way: str
    shown_order: tuple[int, ...]
    criteria: tuple[str, ...] = ()
    scale_ends: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    allow_fail: bool = True
    for_better: bool = True
    """False where the question asks for the worse one: the page then says nothing of better or best."""

    @property
    def num(self) -> int:
        """K, the number of completions."""
        return len(self.shown_order)

    @property
    def letters(self) -> str:
        """A, B, C, …: the names of the places."""
        return ascii_uppercase[: self.num]

    def by_task(self, values: Sequence[Any]) -> list[Any]:
        """Values by place → values in the task's order: `result[shown_order[place]] = values[place]`."""
        by_place: list[Any] = [None] * self.num
        for place, index in enumerate(self.shown_order):
            by_place[index] = values[place]
        return by_place

    def by_place(self, values: Sequence[Any]) -> list[Any]:
        """Values in the task's order → values by place."""
        return [values[index] for index in self.shown_order]


def failed_marks(asked: Asked, fields: Fields) -> list[bool]:
    """Which places are marked as failed by their box."""
    return [f"failed_{place}" in fields for place in range(asked.num)]


def number(fields: Fields, name: str) -> int | None:
    """A small whole number out of a field; None for anything else."""
    value = fields.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 3 else None


def chosen_place(asked: Asked, fields: Fields) -> int | None:
    """The place that was chosen; None for "equal", for nothing, and for one that is marked as failed."""
    place = number(fields, "choice")
    return None if place is None or place >= asked.num or f"failed_{place}" in fields else place


def missing(asked: Asked, groups: Sequence[Group], fields: Fields) -> list[Group]:
    """Groups without an answer, those left out that failed completions excuse."""
    return [group for group in groups if not _given(asked, group, fields) and not _excused(asked, group, fields)]


def _given(asked: Asked, group: Group, fields: Fields) -> bool:
    if group.name == "choice":
        return fields.get("choice") == "equal" or chosen_place(asked, fields) is not None
    return bool(fields.get(group.name))


def _excused(asked: Asked, group: Group, fields: Fields) -> bool:
    failed = failed_marks(asked, fields)
    if group.place is not None:
        return failed[group.place]
    return any(failed) if group.excused == "any" else all(failed)


def missing_sentence(asked: Asked, groups: Sequence[Group]) -> str:
    """`Still to do: a rank for B and D`; "" when nothing is missing."""
    if not groups:
        return ""
    places = sorted({group.place for group in groups if group.place is not None})
    letters = [asked.letters[place] for place in places]
    listed = " and ".join(filter(None, (", ".join(letters[:-1]), *letters[-1:])))
    return f"Still to do: {groups[0].wants}" + (f" for {listed}" if listed else "")


F_HINT = "F is for nonsense, irrelevant or unreadable."


def hint_line(hint: str, asked: Asked) -> str:
    """What to do, in a line under the question; `{first}` of the hint says what rank 1 is."""
    first = "1 is best." if asked.for_better else "1 is what the question asks for most."
    sentence = hint.format(first=first)
    return f"{sentence} {F_HINT}" if asked.allow_fail else sentence


def failed_fields(failed: Sequence[bool], asked: Asked) -> dict[str, str]:
    """Marks in the task's order → the boxes that are ticked."""
    marks = asked.by_place(failed) if failed else []
    return {f"failed_{place}": "1" for place, mark in enumerate(marks) if mark}


def failed_json(asked: Asked, fields: Fields) -> list[bool]:
    """The boxes that are ticked → marks in the task's order."""
    return asked.by_task(failed_marks(asked, fields))
