"""Shares: Wilson's interval, with the prompt as the unit; and the difference of two shares on the same prompts.

Both have a width where all values are equal, unlike a bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from preflab.statistics.clusters import Array, cluster_totals
from preflab.statistics.interval import LEVEL, NOTHING, Interval, too_few, undefined

MIN_MIXED = 5
"""Fewest clusters with the rarer outcome from which the design effect is estimated; with fewer it is the largest."""


def share_interval(
    successes: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = LEVEL
) -> Interval:
    """The share Σ successes / rows, successes from 0 to 1, with Wilson's interval over clusters; see `share_ends`."""
    hits, rows = cluster_totals(successes, None, clusters)
    return interval_of_counts(hits, rows, level=level)


def interval_of_counts(hits: ArrayLike, rows: ArrayLike, *, level: float = LEVEL) -> Interval:
    """The share Σ hits / Σ rows of clusters (C,); clusters without rows are left out. See `share_ends`."""
    hits, rows = np.asarray(hits, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    hits, rows = hits[rows > 0], rows[rows > 0]
    if not len(rows):
        return undefined(math.nan, 0, NOTHING)
    share, low, high = (float(part) for part in share_ends(hits, rows, level))
    return Interval(share, low, high, len(rows))


def share_ends(hits: Array, rows: Array, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """Shares (…) and the ends of their intervals, of clusters with hits (…, C) in rows (…, C).

    Wilson's interval with n = Σ rows / design effect · (z / t)², but at least the n of clusters whose rows all agree:

        design effect   Σ (hits − share · rows)² / (Σ rows)² · C / (C − 1), divided by share · (1 − share) / Σ rows;
                        at least 1
        (z / t)²        because the effect is estimated from C clusters; t has C − 1 degrees of freedom
        least n         (Σ rows)² / Σ rows², which is C for equal sizes; it is used as it is if fewer than
                        5 clusters have the rarer outcome, too few to estimate an effect

    With one row per cluster n is the number of rows. Source: Dean and Pagano 2015, with the degrees of freedom of Korn
    and Graubard 1998; the least n and the limit of 5 by simulation.
    """
    num, total = hits.shape[-1], rows.sum(axis=-1)
    share = hits.sum(axis=-1) / total
    least = total**2 / (rows**2).sum(axis=-1)
    mixed = np.minimum((hits > 0).sum(axis=-1), (hits < rows).sum(axis=-1))
    binomial = share * (1 - share) / total
    between = ((hits - share[..., None] * rows) ** 2).sum(axis=-1) / total**2 * (num / max(1, num - 1))
    effect = np.maximum(1.0, between / np.where(binomial > 0, binomial, 1.0))
    narrower = (norm.ppf((1 + level) / 2) / t.ppf((1 + level) / 2, max(1, num - 1))) ** 2
    estimated = np.maximum(least, total / effect * narrower)
    low, high = wilson(share, np.where(mixed < MIN_MIXED, least, estimated), level)
    return share, low, high


def wilson(share: ArrayLike, num: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Wilson's interval (1927): (low, high) = (p + z²/2n ∓ z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)."""
    p, n = np.asarray(share, dtype=np.float64), np.asarray(num, dtype=np.float64)
    z = float(norm.ppf((1 + level) / 2))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(np.maximum(p * (1 - p), 0) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return np.where(p <= 0, 0.0, centre - half), np.where(p >= 1, 1.0, centre + half)


def share_difference(
    first: ArrayLike, second: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = LEVEL
) -> Interval:
    """share(second) − share(first) over the same prompts; see `share_difference_ends`.

    Args:
        first, second: (N,) aligned rows from 0 to 1; a prompt without any value in one of them is left out of both.
        clusters: (N,) the prompt of each row; None: every row is its own cluster.
    """
    (hits_a, rows_a), (hits_b, rows_b) = (cluster_totals(each, None, clusters) for each in (first, second))
    both = (rows_a > 0) & (rows_b > 0)
    num = int(both.sum())
    if num == 0:
        return undefined(math.nan, 0, NOTHING)
    value = float(hits_b[both].sum() / rows_b[both].sum() - hits_a[both].sum() / rows_a[both].sum())
    if num == 1:
        return undefined(value, 1, too_few(1))
    apart = value + _residuals(hits_b[both], rows_b[both]) - _residuals(hits_a[both], rows_a[both])
    low, high, p = (float(part) for part in share_difference_ends(apart, level))
    return Interval(value, min(low, value), max(high, value), num, p=p)


def _residuals(hits: Array, rows: Array) -> Array:
    """(C,) residual of each prompt: (hits − share · rows) / mean rows."""
    return (hits - hits.sum() / rows.sum() * rows) / rows.mean()


def share_difference_ends(differences: Array, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """(low, high, p-value) of the mean of per-prompt differences (…, C), each between −1 and 1.

    Two prompts are added, one that differs by +1 with weight ½ and by −1 with weight ½, and one that does not differ:

        mean = Σ d / (C + 2),  variance = ((Σ d² + 1) / (C + 2) − mean²) / (C + 2),  mean ∓ t · √variance

    t has C − 1 degrees of freedom; the ends stay within −1 and 1. Source: Agresti and Min 2005 (with z, for pairs of
    single 0/1 answers).
    """
    num = differences.shape[-1]
    centre = differences.sum(axis=-1) / (num + 2)
    squares = (differences**2).sum(axis=-1)
    error = np.sqrt(((squares + 1) / (num + 2) - centre**2) / (num + 2))
    half = t.ppf((1 + level) / 2, num - 1) * error
    p = 2 * t.sf(np.abs(centre) / error, num - 1)
    return np.maximum(centre - half, -1.0), np.minimum(centre + half, 1.0), p
