"""The labelling form as data: groups of radio buttons, the fields they send, and the groups without an answer.

Fields are named by the place on the page, never by the task's order, so that the page does not reveal that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Option:
    """One radio button."""

    value: str
    """The value that the form sends."""
    label: str
    """The text on the page."""
    spoken: str
    """The text for screen readers."""
    key: str
    """The key that selects it."""


@dataclass(frozen=True)
class Group:
    """One question with one answer: about the completion at `place`, or about all of them when `place` is None."""

    name: str
    title: str
    wants: str
    """What is missing while the group has no answer, for example "a rank"."""
    options: tuple[Option, ...]
    place: int | None = None
    low: str = ""
    high: str = ""
    step: int | None = None
    """The step of a form in two steps: 0 or 1."""
    ranks: bool = False
    """Whether the options are ranks."""
    excused: str = ""
    """For a question about all completions: no answer is needed if `any` or `all` of them are marked F."""


@dataclass(frozen=True)
class Asked:
    """The parts of a turn that the form depends on."""

    way: str
    shown_order: tuple[int, ...]
    criteria: tuple[str, ...] = ()
    scale_ends: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    allow_fail: bool = True
    for_better: bool = True
    """False if the question asks for the worse completion; the page then does not use the words better and best."""

    @property
    def num(self) -> int:
        """K, the number of completions."""
        return len(self.shown_order)

    @property
    def letters(self) -> str:
        """The names of the places: A, B, C, …"""
        return ascii_uppercase[: self.num]

    def by_task(self, values: Sequence[Any]) -> list[Any]:
        """Values by place → values in the task's order: `result[shown_order[place]] = values[place]`."""
        in_task_order: list[Any] = [None] * self.num
        for place, index in enumerate(self.shown_order):
            in_task_order[index] = values[place]
        return in_task_order

    def by_place(self, values: Sequence[Any]) -> list[Any]:
        """Values in the task's order → values by place."""
        return [values[index] for index in self.shown_order]


def failed_marks(asked: Asked, fields: Fields) -> list[bool]:
    """Whether the box of each place marks its completion F."""
    return [f"failed_{place}" in fields for place in range(asked.num)]


def read_number(fields: Fields, name: str) -> int | None:
    """The whole number of one or two digits in a field; None for any other value."""
    value = fields.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 3 else None


def chosen_place(asked: Asked, fields: Fields) -> int | None:
    """The chosen place; None for "equal", for no choice, and for a place that is marked F."""
    place = read_number(fields, "choice")
    return None if place is None or place >= asked.num or f"failed_{place}" in fields else place


def missing_groups(asked: Asked, groups: Sequence[Group], fields: Fields) -> list[Group]:
    """The groups that still need an answer; completions marked F can make an answer unnecessary."""
    return [
        group for group in groups if not _is_answered(asked, group, fields) and not _is_excused(asked, group, fields)
    ]


def _is_answered(asked: Asked, group: Group, fields: Fields) -> bool:
    if group.name == "choice":
        return fields.get("choice") == "equal" or chosen_place(asked, fields) is not None
    return bool(fields.get(group.name))


def _is_excused(asked: Asked, group: Group, fields: Fields) -> bool:
    failed = failed_marks(asked, fields)
    if group.place is not None:
        return failed[group.place]
    return any(failed) if group.excused == "any" else all(failed)


def missing_sentence(asked: Asked, groups: Sequence[Group]) -> str:
    """A sentence about the missing answers: `Still to do: a rank for B and D`; "" if nothing is missing."""
    if not groups:
        return ""
    places = sorted({group.place for group in groups if group.place is not None})
    letters = [asked.letters[place] for place in places]
    listed = " and ".join(filter(None, (", ".join(letters[:-1]), *letters[-1:])))
    return f"Still to do: {groups[0].wants}" + (f" for {listed}" if listed else "")


F_HINT = "F is for nonsense, irrelevant or unreadable."


def hint_line(hint: str, asked: Asked) -> str:
    """The line under the question: the way's hint, with the meaning of rank 1 in place of `{first}`, and of F."""
    first = "1 is best." if asked.for_better else "1 is what the question asks for most."
    sentence = hint.format(first=first)
    return f"{sentence} {F_HINT}" if asked.allow_fail else sentence


def failed_to_form(failed: Sequence[bool], asked: Asked) -> dict[str, str]:
    """Marks in the task's order → the fields of the ticked boxes."""
    marks = asked.by_place(failed) if failed else []
    return {f"failed_{place}": "1" for place, mark in enumerate(marks) if mark}


def failed_from_form(asked: Asked, fields: Fields) -> list[bool]:
    """The ticked boxes → marks in the task's order."""
    return asked.by_task(failed_marks(asked, fields))
