"""Scores of completions one by one, on scales from 1: checked, asked for by a form, and filled in again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preflab.ways.base import Json, Scores, WrongAnswer
from preflab.ways.checking import checked_list, checked_number
from preflab.ways.form import Asked, Fields, Group, Option, number

OVERALL = "overall"
"""The one criterion where none is named."""
ENDS_OF_SCORES = {OVERALL: ("very bad", "very good")}
PLAIN_ENDS = ("not at all", "completely")


def checked_scores(
    criteria: Sequence[str], top: int, num: int, json: Json, failed: Sequence[bool]
) -> dict[str, tuple[int | None, ...]]:
    """`scores`: for each criterion one from 1 to `top` per completion; null only where it is F."""
    given = json.get("scores")
    if not isinstance(given, Mapping) or set(given) != set(criteria):
        raise WrongAnswer(f"scores: {given!r:.80}", f"one list for each of {', '.join(criteria)}")
    scores = {}
    for name in criteria:
        values = checked_list(f"scores.{name}", given[name], num)
        scores[name] = tuple(
            None if value is None and failed and failed[i] else checked_number(f"scores.{name}[{i}]", value, 1, top)
            for i, value in enumerate(values)
        )
    return scores


def turned_scores(scores: Scores, top: int) -> dict[str, tuple[int | None, ...]]:
    """Scores from 1 to `top` read from the other end: 1 becomes `top`."""
    return {name: tuple(None if s is None else top + 1 - s for s in row) for name, row in scores.items()}


def score_groups(asked: Asked, criteria: Sequence[str], top: int, step: int | None = None) -> list[Group]:
    """A scale for every criterion under every completion."""
    groups = []
    for place in range(asked.num):
        for which, criterion in enumerate(criteria):
            low, high = asked.scale_ends.get(criterion, ENDS_OF_SCORES.get(criterion, PLAIN_ENDS))
            title = criterion[:1].upper() + criterion[1:] if step is None else "Score on its own"
            name = f"score_{place}_{which}"
            groups.append(Group(name, title, "a score", _scale(top, low, high), place, low, high, step=step))
    return groups


def scores_json(asked: Asked, fields: Fields, criteria: Sequence[str]) -> dict[str, list[int | None]]:
    """The form's scores in the task's order."""
    return {
        criterion: asked.by_task([number(fields, f"score_{place}_{which}") for place in range(asked.num)])
        for which, criterion in enumerate(criteria)
    }


def score_fields(scores: Scores, criteria: Sequence[str], asked: Asked) -> dict[str, str]:
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
