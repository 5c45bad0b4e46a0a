"""Scores on scales from 1: checks them, and converts them from and to the fields of a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preflab.ways.answer_checks import check_list, check_number
from preflab.ways.base import Json, Scores, WrongAnswer
from preflab.ways.form import Asked, Fields, Group, Option, read_number

OVERALL = "overall"
"""The only criterion in ways that do not use the criteria of the campaign."""
ENDS_OF_SCORES = {OVERALL: ("very bad", "very good")}
PLAIN_ENDS = ("not at all", "completely")


def check_scores(
    criteria: Sequence[str], top: int, num: int, json: Json, failed: Sequence[bool]
) -> dict[str, tuple[int | None, ...]]:
    """Check the field `scores`: per criterion, a score from 1 to `top` for each completion; null only where it is F."""
    lists = json.get("scores")
    if not isinstance(lists, Mapping) or set(lists) != set(criteria):
        raise WrongAnswer(f"scores: {lists!r:.80}", f"one list for each of {', '.join(criteria)}")
    scores = {}
    for name in criteria:
        values = check_list(f"scores.{name}", lists[name], num)
        scores[name] = tuple(
            None if value is None and failed and failed[i] else check_number(f"scores.{name}[{i}]", value, 1, top)
            for i, value in enumerate(values)
        )
    return scores


def reverse_scores(scores: Scores, top: int) -> dict[str, tuple[int | None, ...]]:
    """Reverse scores from 1 to `top`: 1 becomes `top`."""
    return {name: tuple(None if s is None else top + 1 - s for s in row) for name, row in scores.items()}


def score_groups(asked: Asked, criteria: Sequence[str], top: int, step: int | None = None) -> list[Group]:
    """One group per completion and criterion: a scale from 1 to `top`."""
    groups = []
    for place in range(asked.num):
        for which, criterion in enumerate(criteria):
            low, high = asked.scale_ends.get(criterion, ENDS_OF_SCORES.get(criterion, PLAIN_ENDS))
            title = criterion[:1].upper() + criterion[1:] if step is None else "Score on its own"
            name = f"score_{place}_{which}"
            groups.append(Group(name, title, "a score", _scale(top, low, high), place, low, high, step=step))
    return groups


def scores_from_form(asked: Asked, fields: Fields, criteria: Sequence[str]) -> dict[str, list[int | None]]:
    """The scores in the form's fields, in the task's order."""
    return {
        criterion: asked.by_task([read_number(fields, f"score_{place}_{which}") for place in range(asked.num)])
        for which, criterion in enumerate(criteria)
    }


def scores_to_form(scores: Scores, criteria: Sequence[str], asked: Asked) -> dict[str, str]:
    """Scores in the task's order → the form's fields."""
    return {
        f"score_{place}_{which}": str(score)
        for which, criterion in enumerate(criteria)
        for place, score in enumerate(asked.by_place(scores.get(criterion, (None,) * asked.num)))
        if score is not None
    }


def _scale(top: int, low: str, high: str) -> tuple[Option, ...]:
    spoken = {"1": f"1, {low}", str(top): f"{top}, {high}"}
    return tuple(Option(score, score, spoken.get(score, score), score) for score in map(str, range(1, top + 1)))
