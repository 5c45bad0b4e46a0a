"""The spread of a score over completions, with a jackknife interval over prompts.

spread = √(Σ x² / N − (Σ x / N)²), the standard deviation of all N scores around their mean (as `numpy.std`). Leaving
out one prompt leaves out all its completions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preflab.statistics.clusters import cluster_totals
from preflab.statistics.interval import Interval
from preflab.statistics.jackknife import FEWEST_FOR_SPREAD, jackknife_interval, positive_interval

Array = NDArray[np.float64]


def spread_left_out(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[float, Array]:
    """The spread of (N,) values, and (C,) the spread with each cluster left out; nan values are left out.

    The spread of no values is nan.
    """
    rows = np.asarray(values, dtype=np.float64)
    known = rows[~np.isnan(rows)]
    centre = known.mean() if len(known) else 0.0  # the spread does not change, and small ones keep their digits
    sums, counts = cluster_totals(rows - centre, None, clusters)
    squares, _ = cluster_totals((rows - centre) ** 2, None, clusters)
    whole = _spread(counts.sum(), sums.sum(), squares.sum())
    left = _spread(counts.sum() - counts, sums.sum() - sums, squares.sum() - squares)
    return float(whole), left


def _spread(num: ArrayLike, total: ArrayLike, squares: ArrayLike) -> Array:
    num, total, squares = (np.asarray(each, dtype=np.float64) for each in (num, total, squares))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(np.maximum(squares / num - (total / num) ** 2, 0.0))


def spread_interval(values: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """The spread with a jackknife interval of its logarithm over clusters."""
    return positive_interval(*spread_left_out(values, clusters), fewest=FEWEST_FOR_SPREAD)


def spread_difference(first: ArrayLike, second: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """spread(second) − spread(first) with a jackknife interval: each cluster is left out of both at once."""
    value_a, left_out_a = spread_left_out(first, clusters)
    value_b, left_out_b = spread_left_out(second, clusters)
    return jackknife_interval(value_b - value_a, left_out_b - left_out_a, fewest=FEWEST_FOR_SPREAD)
