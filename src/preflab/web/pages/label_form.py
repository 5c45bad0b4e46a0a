"""The labelling form as data: groups of radios, fields by place on the page, and what is still missing.

Fields are named by the place on the page, never by the task's order, so that the page does not give that order away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """Score-then-rank: 0 for scores, 1 for ranks."""
    ranks: bool = False
    excused: str = ""
    """A question about all needs no answer when `any` or `all` completions failed."""


@dataclass(frozen=True)
class Way:
    """A way of judging as the page sees it."""

    hint: str
    """What to do, in a sentence; `{first}` says what rank 1 is."""
    keys: tuple[tuple[str, str], ...]
    """Number keys and what they say, for the table of keys; `{num}` is K, `{last}` its letter."""
    groups: Callable[[Asked], list[Group]]
    to_json: Callable[[Asked, Fields], dict[str, Any]]
    to_fields: Callable[[Any, Asked], dict[str, str]]
    fail_box: bool = True
    """A box per completion marks it as failed; in a ranking F is one of the ranks instead."""
    num_steps: int = 1


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
        found: list[Any] = [None] * self.num
        for place, index in enumerate(self.shown_order):
            found[index] = values[place]
        return found

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
