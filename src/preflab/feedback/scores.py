"""What labelers gave each completion by itself: scores and thumbs of one task, averaged by reliability.

More is better in what comes out: answers to a question for the worse one, and those of a labeler of whom a lead has
confirmed that they read the scale backwards, are turned round here, as `pairs.py` does for pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from preflab.records import Judgment


def upright(judgments: Iterable[Judgment], confirmed_reversed: Collection[str] = ()) -> list[Judgment]:
    """The same judgments with scores and thumbs of which more is better; ranks and choices are left as they are."""
    return [
        replace(judgment, answer=judgment.answer.turned())
        if (judgment.polarity < 0) != (judgment.labeler_id in confirmed_reversed)
        else judgment
        for judgment in judgments
    ]


def mean_scores(judgments: Sequence[Judgment], weights: Mapping[str, float]) -> dict[str, tuple[float | None, ...]]:
    """Criterion → mean score per completion of one task, {} where nobody was asked.

    mean = Σ_l w_l s_l / Σ_l w_l over the labelers who gave one; None where none of them weighs anything.
    """
    weighted = [(weights[judgment.labeler_id], judgment.answer.ratings) for judgment in judgments]
    names = sorted({name for _, scores in weighted for name in scores})
    return {name: _means([(weight, scores[name]) for weight, scores in weighted if name in scores]) for name in names}


def thumbs_share(judgments: Sequence[Judgment], weights: Mapping[str, float]) -> tuple[float | None, ...]:
    """Share of thumbs up per completion of one task, by weight as in `mean_scores`; () where nobody was asked."""
    return _means([(weights[j.labeler_id], j.answer.verdicts) for j in judgments if j.answer.verdicts])


def _means(rows: Sequence[tuple[float, Sequence[float | None]]]) -> tuple[float | None, ...]:
    """Column means, by weight, over what is not None."""
    weights = [weight for weight, _ in rows]
    columns = zip(*(values for _, values in rows), strict=True)
    return tuple(_mean([(w, v) for w, v in zip(weights, column, strict=True) if v is not None]) for column in columns)


def _mean(given: Sequence[tuple[float, float]]) -> float | None:
    total = sum(weight for weight, _ in given)
    return sum(weight * value for weight, value in given) / total if total > 0 else None
