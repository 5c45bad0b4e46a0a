"""Thumbs: every completion is judged good or bad, separately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from preflab.ways.answer_checks import check_failed, check_list
from preflab.ways.base import (
    Answer,
    Json,
    Letters,
    Outcome,
    Rules,
    Seen,
    Way,
    WrongAnswer,
    add_failed,
    add_failed_words,
    check_length,
    reorder,
    votes_of_levels,
)
from preflab.ways.form import Asked, Fields, Group, Option, failed_from_form, failed_to_form

VERDICTS = {"up": True, "down": False}


@dataclass(frozen=True)
class ThumbsAnswer(Answer):
    """One verdict per completion: True = thumbs up, False = thumbs down, None = not given."""

    up: tuple[bool | None, ...]
    failed: tuple[bool, ...] = ()
    """True where a completion is F; () = none."""

    @property
    def stored_as(self) -> str:
        """Always `thumbs`."""
        return "thumbs"

    def to_json(self) -> dict[str, Any]:
        """`{"up": [true, false]}`, with the fail marks if there are any."""
        return add_failed({"up": list(self.up)}, self.failed)

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """The answer that was stored."""
        return cls(tuple(data["up"]), tuple(data.get("failed", ())))

    def reordered(self, places: Sequence[int]) -> Self:
        """Thumbs and marks in another order."""
        return replace(self, up=reorder(self.up, places), failed=reorder(self.failed, places))

    def levels(self, num: int) -> list[float | None]:
        """1 for up, 0 for down, None if not given."""
        return [None if up is None else float(up) for up in self.up]

    def votes(self, num: int, criterion: str | None = None) -> list[Outcome]:
        """A vote on every pair: up wins against down, equal verdicts are a tie."""
        check_length("thumbs", self.up, num)
        return votes_of_levels(self.levels(num))

    def words(self, letters: Letters) -> str:
        """The verdicts in one line: `A up, B down · F: C`."""
        names = {True: "up", False: "down", None: "–"}
        return add_failed_words(
            ", ".join(f"{letters[i]} {names[up]}" for i, up in enumerate(self.up)), self.failed, letters
        )

    @property
    def verdicts(self) -> tuple[bool | None, ...]:
        """The thumbs."""
        return self.up

    def turned(self) -> Self:
        """The same answer with up and down exchanged."""
        return replace(self, up=tuple(None if up is None else not up for up in self.up))


class Thumbs(Way[ThumbsAnswer]):
    """Judge each completion good or bad; a task may have a single completion."""

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
        """Check `{"up": [true, null], "failed": [false, true]}`."""
        failed = check_failed(rules, num, json)
        thumbs = check_list("up", json.get("up"), num)
        for i, up in enumerate(thumbs):
            if not isinstance(up, bool) and not (up is None and failed and failed[i]):
                raise WrongAnswer(f"up[{i}]: {up!r:.80}", "true or false; null only where it is F")
        return ThumbsAnswer(tuple(thumbs), failed)

    def groups(self, asked: Asked) -> list[Group]:
        """The choice of good or bad under each completion."""
        options = (Option("up", "Good", "thumbs up", "1"), Option("down", "Bad", "thumbs down", "0"))
        return [Group(f"up_{place}", "Verdict", "a verdict", options, place) for place in range(asked.num)]

    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """Thumbs and marks in the task's order."""
        up = [VERDICTS.get(fields.get(f"up_{place}", "")) for place in range(asked.num)]
        return {"up": asked.by_task(up), "failed": failed_from_form(asked, fields)}

    def to_form(self, answer: ThumbsAnswer, asked: Asked) -> dict[str, str]:
        """The verdicts and ticked boxes by place."""
        shown = enumerate(asked.by_place(answer.up))
        thumbs = {f"up_{place}": "up" if up else "down" for place, up in shown if up is not None}
        return thumbs | failed_to_form(answer.failed, asked)

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> ThumbsAnswer:
        """Thumbs up where the completion is better than average."""
        return ThumbsAnswer(seen.verdicts(), seen.failed())


WAY = Thumbs()
