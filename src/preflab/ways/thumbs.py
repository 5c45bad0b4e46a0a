"""Thumbs: every completion is good or bad by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from preflab.ways.base import (
    Answer,
    Json,
    Letters,
    Outcome,
    Rules,
    Seen,
    Way,
    WrongAnswer,
    check_length,
    failed_words,
    moved,
    votes_of_levels,
    with_failed,
)
from preflab.ways.checking import checked_failed, checked_list
from preflab.ways.form import Asked, Fields, Group, Option, failed_fields, failed_json

SAID = {"up": True, "down": False}


@dataclass(frozen=True)
class ThumbsAnswer(Answer):
    """True = thumbs up, False = down, None = not given; one per completion."""

    up: tuple[bool | None, ...]
    failed: tuple[bool, ...] = ()
    """True where a completion is F; () = none."""

    @property
    def stored_as(self) -> str:
        """Always under its own name."""
        return "thumbs"

    def to_json(self) -> dict[str, Any]:
        """`{"up": [true, false]}`, and the fail marks where there are some."""
        return with_failed({"up": list(self.up)}, self.failed)

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """The answer that was stored."""
        return cls(tuple(data["up"]), tuple(data.get("failed", ())))

    def reordered(self, places: Sequence[int]) -> Self:
        """Thumbs and marks in another order."""
        return replace(self, up=moved(self.up, places), failed=moved(self.failed, places))

    def levels(self, num: int) -> list[float | None]:
        """Up is above down."""
        return [None if up is None else float(up) for up in self.up]

    def votes(self, num: int, criterion: str | None = None) -> list[Outcome]:
        """Up against down; two of the same are a tie."""
        check_length("thumbs", self.up, num)
        return votes_of_levels(self.levels(num))

    def words(self, letters: Letters) -> str:
        """`A up, B down · F: C`."""
        names = {True: "up", False: "down", None: "–"}
        return failed_words(
            ", ".join(f"{letters[i]} {names[up]}" for i, up in enumerate(self.up)), self.failed, letters
        )

    @property
    def verdicts(self) -> tuple[bool | None, ...]:
        """The thumbs."""
        return self.up

    def turned(self) -> Self:
        """Up is down."""
        return replace(self, up=tuple(None if up is None else not up for up in self.up))


class Thumbs(Way[ThumbsAnswer]):
    """One completion can be judged without another."""

    name = "thumbs"
    place = 50
    answer = ThumbsAnswer
    about = "thumbs up or down"
    questions = ("Is this a good completion?", "Is this a bad completion?")
    task = "You see a prompt and completions. Give each completion a thumb up or down. "
    ties = "Ask of each completion alone whether you would be glad to have got it."
    fields = frozenset({"up", "failed"})
    example = '{"up": [true, false]}'
    shape = '{"up": [true, false]}'
    least = 1
    hint = "Say of each one whether it is good or bad."
    keys = (("1", "good"), ("0", "bad"))

    def check(self, rules: Rules, num: int, json: Json) -> ThumbsAnswer:
        """`{"up": [true, null], "failed": [false, true]}`."""
        failed = checked_failed(rules, num, json)
        thumbs = checked_list("up", json.get("up"), num)
        for i, up in enumerate(thumbs):
            if not isinstance(up, bool) and not (up is None and failed and failed[i]):
                raise WrongAnswer(f"up[{i}]: {up!r:.80}", "true or false; null only where it is F")
        return ThumbsAnswer(tuple(thumbs), failed)

    def groups(self, asked: Asked) -> list[Group]:
        """Good or bad under each completion."""
        options = (Option("up", "Good", "thumbs up", "1"), Option("down", "Bad", "thumbs down", "0"))
        return [Group(f"up_{place}", "Verdict", "a verdict", options, place) for place in range(asked.num)]

    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """Thumbs and marks in the task's order."""
        up = [SAID.get(fields.get(f"up_{place}", "")) for place in range(asked.num)]
        return {"up": asked.by_task(up), "failed": failed_json(asked, fields)}

    def to_form(self, answer: ThumbsAnswer, asked: Asked) -> dict[str, str]:
        """Thumbs and boxes for each place."""
        shown = enumerate(asked.by_place(answer.up))
        thumbs = {f"up_{place}": "up" if up else "down" for place, up in shown if up is not None}
        return thumbs | failed_fields(answer.failed, asked)

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> ThumbsAnswer:
        """Up where it is better than the average."""
        return ThumbsAnswer(seen.verdicts(), seen.failed())


WAY = Thumbs()
