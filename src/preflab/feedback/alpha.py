"""Krippendorff's alpha: 1 for full agreement, 0 for agreement by chance, below 0 for systematic disagreement.

After Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", whose worked examples are tests.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal

import numpy as np

from preflab.feedback.estimates import NOTHING, Estimate, estimate_coefficient, sum_by_task

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(
    ratings: Sequence[Sequence[float | None]] | np.ndarray,
    level: Level,
    tasks: Sequence[Hashable] | None = None,
) -> Estimate:
    """alpha = 1 − observed disagreement / expected disagreement.

        o[c, k]  = Σ_units n_uc · (n_uk − [c = k]) / (m_u − 1)        n_c = Σ_k o[c, k],  n = Σ_c n_c
        alpha    = 1 − (n − 1) · Σ o[c, k] · δ²(c, k) / Σ n_c · n_k · δ²(c, k)

    n_uc labelers gave unit u the value c, and m_u gave it any value; units with fewer than two values are left out.

    Args:
        ratings: (units, labelers), None or NaN where a labeler gave no value.
        level: `nominal` (δ² = 1 for different values), `ordinal` (squared number of ratings between them), `interval`
            (squared difference).
        tasks: the task of each unit; None: each unit is a task. The interval is over tasks.
    """
    if not len(ratings):
        return Estimate(None, None, None, 0, NOTHING)
    table = np.array(ratings, dtype=float, ndmin=2)
    rated = ~np.isnan(table)
    comparable = rated.sum(axis=1) >= 2
    values = np.unique(table[comparable][rated[comparable]])
    coincidences = count_coincidences(table[comparable], values)
    task_of_unit = None if tasks is None else [task for task, keep in zip(tasks, comparable, strict=True) if keep]
    return estimate_coefficient(
        sum_by_task(coincidences, task_of_unit), alpha_of(values, level), lambda sums: _share_outside(sums, len(values))
    )


def count_coincidences(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(units, V · V): o[c, k] of each unit, for a table (units, labelers) and values (V,)."""
    counts = (table[:, :, None] == values).sum(axis=1).astype(float)
    paired = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    paired /= counts.sum(axis=1)[:, None, None] - 1
    return paired.reshape(len(table), len(values) ** 2)


def alpha_of(values: np.ndarray, level: Level) -> Callable[[np.ndarray], np.ndarray]:
    """The function of summed coincidences (R, V · V) of these values that returns alpha (R,)."""
    return lambda sums: _alpha(sums, values, DISTANCES[level])


def _share_outside(sums: np.ndarray, num: int) -> np.ndarray:
    """The share of the values (R,) that differ from the most frequent one."""
    totals = sums.reshape(len(sums), num, num).sum(axis=2)
    return np.asarray(1 - totals.max(axis=1) / totals.sum(axis=1))


def _alpha(
    sums: np.ndarray, values: np.ndarray, distance: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Alpha (R,) of the coincidences (R, V · V) of R resamples; NaN where the expected disagreement is 0."""
    coincidences = sums.reshape(len(sums), len(values), len(values))
    totals = coincidences.sum(axis=2)
    distances = distance(values, totals)
    observed = (coincidences * distances).sum(axis=(1, 2)) * (totals.sum(axis=1) - 1)
    expected = (totals[:, :, None] * totals[:, None, :] * distances).sum(axis=(1, 2))
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
"""Level → function of the values (V,) and their frequencies (R, V) that returns δ² (R, V, V)."""
