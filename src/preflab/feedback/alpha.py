"""Krippendorff's alpha: 1 where all agree, 0 where they agree as by chance, below 0 where they disagree on purpose.

After Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", whose worked examples are tests.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal

import numpy as np

from preflab.feedback.bootstrap import NOTHING, Estimate, estimate, summed_by

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(
    ratings: Sequence[Sequence[float | None]] | np.ndarray,
    level: Level,
    tasks: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Estimate:
    """alpha = 1 − observed disagreement / expected disagreement.

        o[c, k]  = Σ_units n_uc · (n_uk − [c = k]) / (m_u − 1)        n_c = Σ_k o[c, k],  n = Σ_c n_c
        alpha    = 1 − (n − 1) · Σ o[c, k] · δ²(c, k) / Σ n_c · n_k · δ²(c, k)

    n_uc labelers gave unit u the value c, m_u gave it any; units with fewer than two values say nothing.

    Args:
        ratings: (units, labelers), None or NaN where a labeler gave none.
        level: `nominal` (δ² = 1 for different values), `ordinal` (squared number of ratings between them), `interval`
            (squared difference).
        tasks: the task of each unit, where several units belong to one; the interval is over tasks.
        seed: of the resamples.
    """
    if not len(ratings):
        return Estimate(None, None, None, 0, NOTHING)
    table = np.array(ratings, dtype=float, ndmin=2)
    rated = ~np.isnan(table)
    kept = rated.sum(axis=1) >= 2
    values = np.unique(table[kept][rated[kept]])
    coincidences = _coincidences(table[kept], values)
    units = None if tasks is None else [task for task, keep in zip(tasks, kept, strict=True) if keep]
    return estimate(summed_by(coincidences, units), lambda sums: _alpha(sums, values, DISTANCES[level]), seed)


def _coincidences(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(units, V · V): o[c, k] of each unit."""
    counts = (table[:, :, None] == values).sum(axis=1).astype(float)
    paired = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    paired /= counts.sum(axis=1)[:, None, None] - 1
    return paired.reshape(len(table), len(values) ** 2)


def _alpha(
    sums: np.ndarray, values: np.ndarray, distance: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    together = sums.reshape(len(sums), len(values), len(values))
    totals = together.sum(axis=2)
    apart = distance(values, totals)
    observed = (together * apart).sum(axis=(1, 2)) * (totals.sum(axis=1) - 1)
    expected = (totals[:, :, None] * totals[:, None, :] * apart).sum(axis=(1, 2))
    return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1), np.nan)


def _nominal(values: np.ndarray, totals: np.ndarray) -> np.ndarray:
    return np.broadcast_to(1 - np.eye(len(values)), (len(totals), len(values), len(values)))


def _interval(values: np.ndarray, totals: np.ndarray) -> np.ndarray:
    return np.broadcast_to((values[:, None] - values) ** 2, (len(totals), len(values), len(values)))


def _ordinal(values: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """(Σ_{g=c..k} n_g − (n_c + n_k)/2)²: the squared distance of the values' middle ranks."""
    middle = np.cumsum(totals, axis=1) - totals / 2
    squared: np.ndarray = (middle[:, :, None] - middle[:, None, :]) ** 2
    return squared


DISTANCES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
}
"""Level → δ² (R, V, V) of values (V,) and how often each was given (R, V)."""
