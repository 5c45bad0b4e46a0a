"""Best of several: one completion is the best, or no single one is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.ways.base import Json, Rules, Seen, Way, WrongAnswer, marks_of
from preflab.ways.checking import checked_failed, checked_number
from preflab.ways.form import Asked, Fields, Group, Option, chosen_place, failed_fields, failed_json
from preflab.ways.side_by_side import SideBySideAnswer


class BestOf(Way[SideBySideAnswer]):
    """The best one against each other one."""

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
        """Its answers are those of a choice between two."""
        return "side_by_side"

    def check(self, rules: Rules, num: int, json: Json) -> SideBySideAnswer:
        """`{"best": 1, "failed": [true, false]}`; null: none is better."""
        failed = checked_failed(rules, num, json)
        if "best" not in json:
            raise WrongAnswer("best: missing", f"0 to {num - 1}, or null where none is better")
        best = json["best"]
        if best is None:
            return SideBySideAnswer("equal", None, failed)
        best = checked_number("best", best, 0, num - 1)
        if failed and failed[best]:
            raise WrongAnswer(f"best: {best} is marked F", "a completion that is not F")
        return SideBySideAnswer(None, best, failed)

    def groups(self, asked: Asked) -> list[Group]:
        """One choice among all; none is needed where all failed."""
        options = [
            Option(str(place), letter, f"It is {letter}", str(place + 1)) for place, letter in enumerate(asked.letters)
        ]
        options.append(Option("equal", "No single one", "No single one", "0"))
        return [Group("choice", "Your choice", "a choice", tuple(options), excused="all")]

    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """A place on the page → an index of the task."""
        place = chosen_place(asked, fields)
        best = None if place is None else asked.shown_order[place]
        return {"best": best, "failed": failed_json(asked, fields)}

    def to_form(self, answer: SideBySideAnswer, asked: Asked) -> dict[str, str]:
        """An index of the task → its place on the page."""
        value = "equal" if answer.best is None else str(asked.shown_order.index(answer.best))
        return {"choice": value} | failed_fields(answer.failed, asked)

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> SideBySideAnswer:
        """The first in order; where several are, none is better."""
        ranks = seen.ranks()
        best = [i for i, rank in enumerate(ranks) if rank == 1]
        if len(best) == 1:
            return SideBySideAnswer(None, best[0], marks_of(ranks))
        return SideBySideAnswer("equal", None, marks_of(ranks))


WAY = BestOf()
