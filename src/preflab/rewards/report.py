"""Quality of a reward model: accuracy on pairs, calibration, and the accuracy of length alone on the same pairs.

All figures come from raw scores, before gain and offset, because training fits σ(raw chosen − raw rejected) and only
raw scores can be calibrated. Tied pairs have no label and are not counted; equal scores count half. The unit of every
interval is the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab.statistics.shares import share_difference, share_interval

Array = NDArray[np.float64]
NUM_BINS = 5


@dataclass(frozen=True)
class ScoredGroup:
    """One preference group with the scores a reward model gave."""

    prompt_id: str
    scores: tuple[float, ...]
    """Raw score per completion."""
    lengths: tuple[int, ...]
    """Characters per completion."""
    ranks: tuple[int | None, ...]
    """Consensus ranks from 1; None = F."""
    pairs: tuple[tuple[int, int], ...]
    """(chosen, rejected) indices, as the labelers decided."""


@dataclass(frozen=True)
class PairTable:
    """All decided pairs of many groups as columns (P,)."""

    prompts: list[str]
    margins: Array
    """Raw score of chosen − rejected."""
    length_differences: Array
    """Characters of chosen − rejected."""

    @classmethod
    def of(cls, groups: Sequence[ScoredGroup]) -> PairTable:
        """The pairs of the groups, in order."""
        rows = [
            (group.prompt_id, group.scores[i] - group.scores[j], group.lengths[i] - group.lengths[j])
            for group in groups
            for i, j in group.pairs
        ]
        prompts, margins, lengths = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(list(prompts), np.array(margins, dtype=np.float64), np.array(lengths, dtype=np.float64))


def wins(differences: Array) -> Array:
    """1 where the difference is positive, ½ where it is 0, 0 where it is negative."""
    return (np.sign(differences) + 1) / 2


def pair_quality(groups: Sequence[ScoredGroup]) -> dict[str, Any]:
    """Figures on the pairs of these groups.

    Returns:
        num_prompts, num_pairs;
        accuracy: share of pairs whose chosen completion scores higher, ties half, with its interval;
        longer_wins: the same for "the longer one is better"; beyond_length: accuracy − longer_wins, paired;
        log_loss: mean −log σ(margin), ln 2 = 0.693 for a model whose scores are all equal;
        calibration, by_length: lists of bins, see `calibration` and `by_length`.
    """
    table = PairTable.of(groups)
    figures: dict[str, Any] = {"num_prompts": len(set(table.prompts)), "num_pairs": len(table.prompts)}
    if not table.prompts:
        return figures
    right, longer = wins(table.margins), wins(table.length_differences)
    return figures | {
        "accuracy": share_interval(right, table.prompts).to_json(),
        "longer_wins": share_interval(longer, table.prompts).to_json(),
        "beyond_length": share_difference(longer, right, table.prompts).to_json(),
        "log_loss": float(np.logaddexp(0.0, -table.margins).mean()),
        "calibration": calibration(table),
        "by_length": by_length(table),
    }


def calibration(table: PairTable, num_bins: int = NUM_BINS) -> list[dict[str, Any]]:
    """Confidence compared with accuracy: pairs in bins of equal size by the model's confidence σ(|margin|) ≥ ½.

    Each bin has `predicted`, the mean confidence; `observed`, the share in which the model's favourite was the chosen
    one, with its interval; and `num` pairs. If `observed` is below `predicted`, the model is overconfident.
    """
    confidence = 1 / (1 + np.exp(-np.abs(table.margins)))
    right = wins(table.margins)
    return [
        {
            "predicted": float(confidence[rows].mean()),
            "observed": _measure(right, rows, table),
            "num": len(rows),
        }
        for rows in _equal_bins(confidence, num_bins)
    ]


def by_length(table: PairTable, num_bins: int = NUM_BINS) -> list[dict[str, Any]]:
    """Accuracy in bins of equal size by length of chosen − rejected in characters, from much shorter to much longer.

    A model that only counts characters is right in the bins with a longer chosen completion and wrong in the others.
    """
    right = wins(table.margins)
    return [
        {
            "from": float(table.length_differences[rows].min()),
            "to": float(table.length_differences[rows].max()),
            "accuracy": _measure(right, rows, table),
            "num": len(rows),
        }
        for rows in _equal_bins(table.length_differences, num_bins)
    ]


def fail_scores(groups: Sequence[ScoredGroup], normalise: Callable[[float], float]) -> dict[str, Any] | None:
    """Scores of completions marked F compared with the others; None if there is no F.

    Returns:
        num, mean: number and mean normalised score of F completions; num_others, mean_others: of the others;
        share_below: share of (F, other) pairs of one prompt in which F scores lower, ties half. A model that never
        saw F in training may score them too high, which this figure shows.
    """
    fails = [score for group in groups for score, rank in zip(group.scores, group.ranks, strict=True) if rank is None]
    if not fails:
        return None
    others = [s for group in groups for s, rank in zip(group.scores, group.ranks, strict=True) if rank is not None]
    differences = [
        group.scores[j] - group.scores[i]
        for group in groups
        for i, rank in enumerate(group.ranks)
        for j, other in enumerate(group.ranks)
        if rank is None and other is not None
    ]
    return {
        "num": len(fails),
        "mean": normalise(float(np.mean(fails))),
        "num_others": len(others),
        "mean_others": normalise(float(np.mean(others))) if others else None,
        "share_below": float(wins(np.array(differences)).mean()) if differences else None,
    }


def scores_by_rank(groups: Sequence[ScoredGroup], normalise: Callable[[float], float]) -> list[dict[str, Any]]:
    """Mean normalised score and number of completions per consensus rank, best first, F (rank None) last."""
    scores: dict[int | None, list[float]] = {}
    for group in groups:
        for score, rank in zip(group.scores, group.ranks, strict=True):
            scores.setdefault(rank, []).append(score)
    order = sorted(scores, key=lambda rank: (rank is None, rank or 0))
    return [{"rank": rank, "mean": normalise(float(np.mean(scores[rank]))), "num": len(scores[rank])} for rank in order]


def _measure(values: Array, rows: NDArray[np.int64], table: PairTable) -> dict[str, Any]:
    return share_interval(values[rows], [table.prompts[i] for i in rows]).to_json()


def _equal_bins(values: Array, num_bins: int) -> list[NDArray[np.int64]]:
    order = np.argsort(values, kind="stable")
    return [rows for rows in np.array_split(order, num_bins) if len(rows)]
