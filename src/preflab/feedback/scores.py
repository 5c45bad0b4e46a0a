"""Averages the scores and thumbs that labelers gave to single completions of one task, weighted by reliability.

In the results higher is better: answers to a question for the worse completion, and answers of labelers with a
confirmed reversal, are inverted here, as `pair_votes.py` does for pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from preflab.records import Judgment


def orient_scores(judgments: Iterable[Judgment], confirmed_reversed: Collection[str] = ()) -> list[Judgment]:
    """The judgments with scores and thumbs inverted where lower was better; ranks and choices are unchanged."""
    return [
        replace(judgment, answer=judgment.answer.turned())
        if (judgment.polarity < 0) != (judgment.labeler_id in confirmed_reversed)
        else judgment
        for judgment in judgments
    ]


def mean_scores(judgments: Sequence[Judgment], weights: Mapping[str, float]) -> dict[str, tuple[float | None, ...]]:
    """Criterion → mean score per completion of one task; {} where no scores were asked for.

    mean = Σ_l w_l s_l / Σ_l w_l over the labelers who gave a score; None where their weights are all 0.
    """
    weighted = [(weights[judgment.labeler_id], judgment.answer.ratings) for judgment in judgments]
    names = sorted({name for _, scores in weighted for name in scores})
    return {name: _means([(weight, scores[name]) for weight, scores in weighted if name in scores]) for name in names}


def thumbs_share(judgments: Sequence[Judgment], weights: Mapping[str, float]) -> tuple[float | None, ...]:
    """Share of thumbs up per completion of one task, weighted as in `mean_scores`; () where none were asked for."""
    return _means([(weights[j.labeler_id], j.answer.verdicts) for j in judgments if j.answer.verdicts])


def _means(rows: Sequence[tuple[float, Sequence[float | None]]]) -> tuple[float | None, ...]:
    """Weighted mean of each column over the values that are not None."""
    weights = [weight for weight, _ in rows]
    columns = zip(*(values for _, values in rows), strict=True)
    return tuple(_mean([(w, v) for w, v in zip(weights, column, strict=True) if v is not None]) for column in columns)


def _mean(weighted: Sequence[tuple[float, float]]) -> float | None:
    """Weighted mean of (weight, value) pairs; None where all weights are 0."""
    total = sum(weight for weight, _ in weighted)
    return sum(weight * value for weight, value in weighted) / total if total > 0 else None
