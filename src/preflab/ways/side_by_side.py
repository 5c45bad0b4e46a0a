"""Side by side: the labeler says which of two completions is better, or that they are roughly equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from preflab.ways.answer_checks import check_failed
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
    marks_of,
    one_against_all,
    reorder,
    votes_of_levels,
)
from preflab.ways.form import Asked, Fields, Group, Option, chosen_place, failed_from_form, failed_to_form

Choice = Literal["first", "second", "equal"]
OTHER: dict[str | None, Choice] = {"first": "second", "second": "first"}
CHOSEN: dict[str | None, int] = {"first": 0, "second": 1}


@dataclass(frozen=True)
class SideBySideAnswer(Answer):
    """A choice between two completions, or the best of several.

    Of two: `choice` is `first`, `second` or `equal`, in the order of the judgment's `completion_ids`. Of several:
    `SideBySideAnswer(None, best=2)` names the best by its index; `SideBySideAnswer("equal")` says that none is best.
    """

    choice: Literal["first", "second", "equal"] | None
    best: int | None = None
    failed: tuple[bool, ...] = ()
    """True where a completion is F; () = none."""

    @property
    def stored_as(self) -> str:
        """`side_by_side` for both ways; the campaign says which of them it was."""
        return "side_by_side"

    @property
    def way(self) -> str:
        """`best_of` if the answer names a best completion, else `side_by_side`."""
        return "side_by_side" if self.best is None else "best_of"

    def to_json(self) -> dict[str, Any]:
        """`{"choice": "first", "best": null}`, with the fail marks if there are any."""
        return add_failed({"choice": self.choice, "best": self.best}, self.failed)

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """The answer that was stored."""
        return cls(data["choice"], data["best"], tuple(data.get("failed", ())))

    def reordered(self, places: Sequence[int]) -> Self:
        """The same answer in another order: first and second may swap, and the index of the best one changes."""
        choice = OTHER[self.choice] if self.choice in OTHER and places[0] == 1 else self.choice
        best = None if self.best is None else list(places).index(self.best)
        return replace(self, choice=choice, best=best, failed=reorder(self.failed, places))

    def levels(self, num: int) -> list[float | None]:
        """1 for the chosen completion, 0 for the others."""
        chosen = CHOSEN.get(self.choice) if self.best is None else self.best
        return [float(i == chosen) for i in range(num)]

    def votes(self, num: int, criterion: str | None = None) -> list[Outcome]:
        """One vote between two completions; K − 1 votes of the best against each other one; "equal" ties all pairs."""
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
        """The choice in one line: `A is better · F: B`."""
        if self.best is not None:
            sentence = f"{letters[self.best]} is best"
        elif self.choice is None:
            sentence = "no choice"
        else:
            sentence = "equal" if self.choice == "equal" else f"{letters[CHOSEN[self.choice]]} is better"
        return add_failed_words(sentence, self.failed, letters)


class SideBySide(Way[SideBySideAnswer]):
    """Choose between two completions; every two completions of a prompt make a task."""

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
        """Refuse any number but two; for more than two, the error suggests `best_of`."""
        if num > 2:
            raise WrongAnswer(f"{num} completions side by side", "two", "choose best_of for more")
        super().check_size(num)

    def check(self, rules: Rules, num: int, json: Json) -> SideBySideAnswer:
        """Check `{"choice": "first", "failed": [false, true]}`; the choice may be missing only if one is marked F."""
        failed = check_failed(rules, num, json)
        choice = json.get("choice")
        if choice not in ("first", "second", "equal") and not (choice is None and any(failed)):
            raise WrongAnswer(f"choice: {choice!r:.80}", "first, second or equal")
        return SideBySideAnswer(choice, None, failed)

    def groups(self, asked: Asked) -> list[Group]:
        """One choice; not needed if a completion is marked F."""
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
        """Convert the chosen place on the page into `first` or `second` in the task's order."""
        place = chosen_place(asked, fields)
        choice = fields.get("choice") if place is None else ("first", "second")[asked.shown_order[place]]
        valid = choice if choice in ("first", "second", "equal") else None
        return {"choice": valid, "failed": failed_from_form(asked, fields)}

    def to_form(self, answer: SideBySideAnswer, asked: Asked) -> dict[str, str]:
        """Convert `first` or `second` in the task's order into its place on the page."""
        chosen = CHOSEN.get(answer.choice)
        value = (answer.choice or "") if chosen is None else str(asked.shown_order.index(chosen))
        return ({"choice": value} if value else {}) | failed_to_form(answer.failed, asked)

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> SideBySideAnswer:
        """The completion with the smaller rank; "equal" for a tie or if one is F."""
        first, second = ranks = seen.ranks()
        if first is None or second is None or first == second:
            return SideBySideAnswer("equal", failed=marks_of(ranks))
        return SideBySideAnswer("first" if first < second else "second", failed=marks_of(ranks))


WAY = SideBySide()
