"""Answers in the order a labeler was shown ↔ answers in the task's order.

The API gives labelers the completions in the order drawn for them and takes answers aligned with it, so that the
task's own order, in which each place may belong to one model, does not leave the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from preflab.records import Answer, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer

T = TypeVar("T")
OTHER: dict[str, Literal["first", "second"]] = {"first": "second", "second": "first"}


def as_shown(answer: Answer, shown_order: Sequence[int]) -> Answer:
    """An answer in the task's order, aligned with what was shown: place p is the task's `shown_order[p]`."""
    return reordered(answer, shown_order)


def as_in_task(answer: Answer, shown_order: Sequence[int]) -> Answer:
    """An answer aligned with what was shown, in the task's order."""
    return reordered(answer, [list(shown_order).index(index) for index in range(len(shown_order))])


def reordered(answer: Answer, places: Sequence[int]) -> Answer:
    """The answer whose i-th entries are the `places[i]`-th of this one."""
    match answer:
        case RankingAnswer(ranks, scores):
            return RankingAnswer(_moved(ranks, places), _each(scores, places))
        case SideBySideAnswer(choice, best, failed):
            if choice in OTHER and places[0] == 1:
                choice = OTHER[choice]
            return SideBySideAnswer(choice, None if best is None else list(places).index(best), _moved(failed, places))
        case LikertAnswer(scores, failed):
            return LikertAnswer(_each(scores, places), _moved(failed, places))
        case ThumbsAnswer(up, failed):
            return ThumbsAnswer(_moved(up, places), _moved(failed, places))


def _moved(values: Sequence[T], places: Sequence[int]) -> tuple[T, ...]:
    return tuple(values[place] for place in places) if values else ()


def _each(scores: Mapping[str, Sequence[T]], places: Sequence[int]) -> dict[str, tuple[T, ...]]:
    return {name: _moved(values, places) for name, values in scores.items()}
