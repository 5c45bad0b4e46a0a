"""Side by side: one of two completions is better, or they are roughly equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from preflab.ways.base import (
    Answer,
    Json,
    Letters,
    Outcome,
    Rules,
    Seen,
    Way,
    WrongAnswer,
    failed_words,
    marks_of,
    moved,
    one_against_all,
    votes_of_levels,
    with_failed,
)
from preflab.ways.checking import checked_failed
from preflab.ways.form import Asked, Fields, Group, Option, chosen_place, failed_fields, failed_json

Choice = Literal["first", "second", "equal"]
OTHER: dict[str | None, Choice] = {"first": "second", "second": "first"}
CHOSEN: dict[str | None, int] = {"first": 0, "second": 1}


@dataclass(frozen=True)
class SideBySideAnswer(Answer):
    """`first`, `second` or `equal`, of the judgment's two `completion_ids`; for K > 2, `best` is an index.

    Best of several: `SideBySideAnswer(None, best=2)`, and `SideBySideAnswer("equal")` where none is better.
    """

    choice: Literal["first", "second", "equal"] | None
    best: int | None = None
    failed: tuple[bool, ...] = ()
    """True where a completion is F; () = none."""

    @property
    def stored_as(self) -> str:
        """One name for both ways: whether several were shown is known from the campaign."""
        return "side_by_side"

    @property
    def way(self) -> str:
        """A best one is asked for among several."""
        return "side_by_side" if self.best is None else "best_of"

    def to_json(self) -> dict[str, Any]:
        """`{"choice": "first", "best": null}`, and the fail marks where there are some."""
        return with_failed({"choice": self.choice, "best": self.best}, self.failed)

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """The answer that was stored."""
        return cls(data["choice"], data["best"], tuple(data.get("failed", ())))

    def reordered(self, places: Sequence[int]) -> Self:
        """First and second change places, and the best one moves."""
        choice = OTHER[self.choice] if self.choice in OTHER and places[0] == 1 else self.choice
        best = None if self.best is None else list(places).index(self.best)
        return replace(self, choice=choice, best=best, failed=moved(self.failed, places))

    def levels(self, num: int) -> list[float | None]:
        """1 for the chosen one, 0 for the others."""
        chosen = CHOSEN.get(self.choice) if self.best is None else self.best
        return [float(i == chosen) for i in range(num)]

    def votes(self, num: int, criterion: str | None = None) -> list[Outcome]:
        """One, 0 for "equal"; the best one against each other: K − 1; "equal" (none is better) ties them all."""
        if self.best is not None:
            return self._votes_for_best(self.best, num)
        if self.choice is None:
            return []
        if self.choice == "equal":
            return votes_of_levels([0] * num)
        if num != 2:
            raise WrongAnswer(f"{self.choice!r} between {num} completions", "two completions")
        return [(0, 1, 1 if self.choice == "first" else -1)]

    def _votes_for_best(self, best: int, num: int) -> list[Outcome]:
        if not 0 <= best < num:
            raise WrongAnswer(f"best is {best}", f"an index below {num}")
        if self.marks(num)[best]:
            raise WrongAnswer("the best one is marked F", "a best one that did not fail")
        return one_against_all(best, num, 1)

    def words(self, letters: Letters) -> str:
        """`A is better · F: B`."""
        if self.best is not None:
            sentence = f"{letters[self.best]} is best"
        elif self.choice is None:
            sentence = "no choice"
        else:
            sentence = "equal" if self.choice == "equal" else f"{letters[CHOSEN[self.choice]]} is better"
        return failed_words(sentence, self.failed, letters)


class SideBySide(Way[SideBySideAnswer]):
    """Every two completions of a prompt make a task."""

    name = "side_by_side"
    place = 20
    answer = SideBySideAnswer
    about = "side by side: A, B or roughly equal"
    questions = ("Which completion is better?", "Which completion is worse?")
    task = "You see a prompt and two completions, A and B. Say which one is better, or that they are roughly equal. "
    ties = "“Roughly equal” is allowed. Keep it for completions you really cannot tell apart."
    fields = frozenset({"choice", "failed"})
    example = '{"choice": "first"}'
    shape = '{"choice": "first" | "second" | "equal"}'
    most = 2
    hint = "Choose one of the two, or say that they are roughly equal."
    keys = (("1", "A"), ("2", "B"), ("0", "roughly equal"))

    def check_size(self, num: int) -> None:
        """Two, and a word on what to do with more."""
        if num > 2:
            raise WrongAnswer(f"{num} completions side by side", "two", "choose best_of for more")
        super().check_size(num)

    def check(self, rules: Rules, num: int, json: Json) -> SideBySideAnswer:
        """`{"choice": "first", "failed": [false, true]}`; no choice only where one is F."""
        failed = checked_failed(rules, num, json)
        choice = json.get("choice")
        if choice not in ("first", "second", "equal") and not (choice is None and any(failed)):
            raise WrongAnswer(f"choice: {choice!r:.80}", "first, second or equal")
        return SideBySideAnswer(choice, None, failed)

    def groups(self, asked: Asked) -> list[Group]:
        """One choice; none is needed where a completion failed."""
        first, second = (
            f"{letter} is better" if asked.for_better else f"It is {letter}" for letter in asked.letters[:2]
        )
        options = (
            Option("0", first, first, "1"),
            Option("equal", "Roughly equal", "Roughly equal", "0"),
            Option("1", second, second, "2"),
        )
        return [Group("choice", "Your choice", "a choice", options, excused="any")]

    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """A place on the page → first or second of the task."""
        place = chosen_place(asked, fields)
        choice = fields.get("choice") if place is None else ("first", "second")[asked.shown_order[place]]
        known = choice if choice in ("first", "second", "equal") else None
        return {"choice": known, "failed": failed_json(asked, fields)}

    def to_form(self, answer: SideBySideAnswer, asked: Asked) -> dict[str, str]:
        """First or second of the task → its place on the page."""
        chosen = CHOSEN.get(answer.choice)
        value = (answer.choice or "") if chosen is None else str(asked.shown_order.index(chosen))
        return ({"choice": value} if value else {}) | failed_fields(answer.failed, asked)

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> SideBySideAnswer:
        """A, B or equal; an F loses nothing and wins nothing."""
        first, second = ranks = seen.ranks()
        if first is None or second is None or first == second:
            return SideBySideAnswer("equal", failed=marks_of(ranks))
        return SideBySideAnswer("first" if first < second else "second", failed=marks_of(ranks))


WAY = SideBySide()
