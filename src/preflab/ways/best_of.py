"""Best of several: the labeler picks the best completion, or says that no single one is the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.ways.answer_checks import check_failed, check_number
from preflab.ways.base import Json, Rules, Seen, Way, WrongAnswer, marks_of
from preflab.ways.form import Asked, Fields, Group, Option, chosen_place, failed_from_form, failed_to_form
from preflab.ways.side_by_side import SideBySideAnswer


class BestOf(Way[SideBySideAnswer]):
    """Pick the best of several; the best completion wins against each of the others."""

    name = "best_of"
    place = 30
    answer = SideBySideAnswer
    about = "pick the best of several"
    questions = ("Which completion is the best?", "Which completion is the worst?")
    task = "You see a prompt and several completions. Pick the best one. "
    ties = "If none is better than the others, say so. Keep it for completions you really cannot tell apart."
    fields = frozenset({"best", "failed"})
    example = '{"best": 1}'
    shape = '{"best": 1}'
    hint = "Choose a single one."
    keys = (("1 … {num}", "A … {last}"), ("0", "no single one"))

    @property
    def stored_as(self) -> str:
        """Answers are stored as side-by-side answers."""
        return "side_by_side"

    def check(self, rules: Rules, num: int, json: Json) -> SideBySideAnswer:
        """Check `{"best": 1, "failed": [true, false]}`; null means that no single one is the best."""
        failed = check_failed(rules, num, json)
        if "best" not in json:
            raise WrongAnswer("best: missing", f"0 to {num - 1}, or null where none is better")
        best = json["best"]
        if best is None:
            return SideBySideAnswer("equal", None, failed)
        best = check_number("best", best, 0, num - 1)
        if failed and failed[best]:
            raise WrongAnswer(f"best: {best} is marked F", "a completion that is not F")
        return SideBySideAnswer(None, best, failed)

    def groups(self, asked: Asked) -> list[Group]:
        """One choice among all completions; not needed if all are marked F."""
        options = [
            Option(str(place), letter, f"It is {letter}", str(place + 1)) for place, letter in enumerate(asked.letters)
        ]
        options.append(Option("equal", "No single one", "No single one", "0"))
        return [Group("choice", "Your choice", "a choice", tuple(options), excused="all")]

    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """Convert the chosen place on the page into an index in the task's order."""
        place = chosen_place(asked, fields)
        best = None if place is None else asked.shown_order[place]
        return {"best": best, "failed": failed_from_form(asked, fields)}

    def to_form(self, answer: SideBySideAnswer, asked: Asked) -> dict[str, str]:
        """Convert the index in the task's order into its place on the page."""
        value = "equal" if answer.best is None else str(asked.shown_order.index(answer.best))
        return {"choice": value} | failed_to_form(answer.failed, asked)

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> SideBySideAnswer:
        """The completion with rank 1; "equal" if several have it."""
        ranks = seen.ranks()
        best = [i for i, rank in enumerate(ranks) if rank == 1]
        if len(best) == 1:
            return SideBySideAnswer(None, best[0], marks_of(ranks))
        return SideBySideAnswer("equal", None, marks_of(ranks))


WAY = BestOf()
