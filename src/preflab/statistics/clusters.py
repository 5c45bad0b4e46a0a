"""Rows summed by cluster: completions of one prompt are alike, so the prompt is the unit of every interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def cluster_totals(
    values: ArrayLike, weights: ArrayLike | None, clusters: Sequence[Hashable] | None
) -> tuple[Array, Array]:
    """Sums of values and of weights (1 per row by default) per cluster, both (C,); nan rows are left out.

    A cluster whose rows are all nan keeps its place with sums of 0, so that two models stay aligned.
    """
    rows = np.asarray(values, dtype=np.float64)
    counts = np.ones_like(rows) if weights is None else np.asarray(weights, dtype=np.float64)
    valid = ~np.isnan(rows)
    if clusters is None:
        return np.where(valid, rows, 0.0), np.where(valid, counts, 0.0)
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(cluster, len(order)) for cluster in clusters], dtype=np.int64)
    sums = np.bincount(index[valid], weights=rows[valid], minlength=len(order))
    totals = np.bincount(index[valid], weights=counts[valid], minlength=len(order))
    return sums.astype(np.float64), totals.astype(np.float64)
