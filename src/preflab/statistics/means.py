"""Means and paired differences of means: bootstrap-t over prompts, with Student's t as the least width of each side.

Prompts (clusters) are resampled, never single rows: completions of one prompt are alike, and intervals that treat them
as independent are too narrow. A resample's mean is divided by its own standard error, so that skewed values widen the
side of their tail (Efron and Tibshirani 1993, section 12.5). For symmetric values with heavy tails, as differences
often are, bootstrap-t is too narrow and Student's t is right. So each end is the outer one of the two methods.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from preflab.statistics.clusters import Array, cluster_totals
from preflab.statistics.interval import (
    FEWEST,
    FEWEST_PAIRED,
    LEVEL,
    NO_VARIATION,
    NOTHING,
    Interval,
    all_equal,
    too_few,
    too_few_differ,
    undefined,
)

NUM_RESAMPLES = 1999
"""With 1999 the 2.5 % ends are the 50th values from either side, and p ≤ 0.05 where the interval excludes 0."""
MOST_ERRORS = 50
"""Most standard errors between a value and its ends: farther ones come from resamples whose values are nearly equal."""
CHUNK = 4_000_000
"""Most cells of a resampling matrix in memory at once (32 MB)."""
Terms = Sequence[tuple[Array, Array]]
"""(sums (…, C), totals (…, C)) per term; the figure is Σ_terms (Σ sums / Σ totals) over clusters."""


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    weights: ArrayLike | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """The mean Σ values / Σ weights with its interval over clusters.

    Args:
        values: (N,); nan rows are left out.
        clusters: (N,) the prompt of each row; None: every row is its own cluster.
        weights: (N,) denominators, 1 by default; with token counts the result is a mean per token.
        level: coverage of the interval.
        seed: of the resamples.
    """
    sums, totals = cluster_totals(values, weights, clusters)
    used = totals > 0
    return _interval([(sums[used], totals[used])], FEWEST, level, seed)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    weights: tuple[ArrayLike, ArrayLike] | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """mean(second) − mean(first) over the same prompts; each resample draws the same prompts for both.

    Args:
        first, second: (N,) aligned rows; a prompt without any value in one of them is left out of both.
        clusters: (N,) the prompt of each row; None: every row is its own cluster.
        weights: (N,) denominators of `first` and of `second`, 1 by default.
        level: coverage of the interval.
        seed: of the resamples.
    """
    weights_first, weights_second = weights or (None, None)
    sums_a, totals_a = cluster_totals(first, weights_first, clusters)
    sums_b, totals_b = cluster_totals(second, weights_second, clusters)
    both = (totals_a > 0) & (totals_b > 0)
    if np.array_equal(totals_a[both], totals_b[both]):
        return _interval([((sums_b - sums_a)[both], totals_b[both])], FEWEST_PAIRED, level, seed)
    terms = [(-sums_a[both], totals_a[both]), (sums_b[both], totals_b[both])]
    return _interval(terms, FEWEST_PAIRED, level, seed)


def _interval(terms: Terms, fewest: int, level: float, seed: int) -> Interval:
    num = len(terms[0][0])
    if num == 0:
        return undefined(math.nan, 0, NOTHING)
    value = float(sum(sums.sum() / totals.sum() for sums, totals in terms))
    if num < 2:
        return undefined(value, num, too_few(num))
    left_out = sum((sums.sum() - sums) / (totals.sum() - totals) for sums, totals in terms)
    if all_equal(np.asarray(left_out)):
        return undefined(value, num, NO_VARIATION)
    if num < fewest:
        return undefined(value, num, too_few(num))
    low, high, p = (float(part) for part in mean_ends(terms, level, seed))
    if not (math.isfinite(low) and math.isfinite(high)):
        return undefined(value, num, too_few_differ(num))
    return Interval(value, low, high, num, p=p)


def mean_ends(terms: Terms, level: float = LEVEL, seed: int = 0) -> tuple[Array, Array, Array]:
    """(low, high, p-value), each (…), of Σ_terms (Σ sums / Σ totals); an end is infinite where resamples lack spread.

    They lack it if 2.5 % of them have none, or so little that an end is more than `MOST_ERRORS` errors away: if one of
    30 values is large and the others are nearly equal, a third of the resamples miss it.

        low  = value − max(t*₍₉₇.₅₎, t₉₇.₅) · error,  high = value − min(t*₍₂.₅₎, −t₉₇.₅) · error
        t*   = (a resample's value − value) / (its own standard error), of 1999 resamples of the clusters
        p    = the larger of bootstrap-t's 2 · (1 + number of t* beyond value / error) / 2000 and Student's

    t has C − 1 degrees of freedom.
    """
    num = terms[0][0].shape[-1]
    value = np.sum([sums.sum(axis=-1) / totals.sum(axis=-1) for sums, totals in terms], axis=0)
    columns = _residual_columns(terms)
    error = np.sqrt(_statistics(columns, np.ones((1, num)))[1][0])
    drawn = np.concatenate([_studentised(columns, counts, error) for counts in resample_counts(num, seed)])
    place = int((NUM_RESAMPLES + 1) * (1 - level) / 2 + 1e-9)
    ordered = np.partition(drawn, [place - 1, NUM_RESAMPLES - place], axis=0)
    least = float(t.ppf((1 + level) / 2, num - 1))
    error = np.where(error > 0, error, math.nan)  # equal values have no interval
    above, below = (_unless_far(ordered[at]) for at in (NUM_RESAMPLES - place, place - 1))
    low = value - np.maximum(above, least) * error
    high = value - np.minimum(below, -least) * error
    ratio = value / error
    beyond = np.where(ratio > 0, (drawn >= ratio).sum(axis=0), (drawn <= ratio).sum(axis=0))
    p = np.maximum(2 * (1 + beyond) / (NUM_RESAMPLES + 1), 2 * t.sf(np.abs(ratio), num - 1))
    return low, high, np.minimum(p, 1.0)


def _unless_far(quantiles: Array) -> Array:
    """Quantiles of t*, infinite where they are more than `MOST_ERRORS` from 0."""
    return np.where(np.abs(quantiles) > MOST_ERRORS, np.copysign(math.inf, quantiles), quantiles)


def resample_counts(num_clusters: int, seed: int) -> Iterator[Array]:
    """Counts of how often each cluster is drawn in each of 1999 resamples: chunks (R, C) whose rows sum to C."""
    small = num_clusters * NUM_RESAMPLES <= CHUNK
    return iter(_remembered_counts(num_clusters, seed)) if small else _drawn_counts(num_clusters, seed)


@functools.lru_cache(maxsize=2)
def _remembered_counts(num_clusters: int, seed: int) -> list[Array]:
    """The resamples, cached: all measures of one evaluation have the same number of prompts and the same seed."""
    return list(_drawn_counts(num_clusters, seed))


def _drawn_counts(num_clusters: int, seed: int) -> Iterator[Array]:
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // max(1, num_clusters))
    share = np.full(num_clusters, 1.0 / num_clusters)
    for start in range(0, NUM_RESAMPLES, rows):
        size = min(rows, NUM_RESAMPLES - start)
        yield generator.multinomial(num_clusters, share, size=size).astype(np.float64)


def _residual_columns(terms: Terms) -> Array:
    """(…, C, 2 · terms): per term sums − ratio · totals, which add up to 0, and totals, scaled to a mean of 1."""
    columns = []
    for sums, totals in terms:
        scaled = totals / totals.mean(axis=-1, keepdims=True)
        ratio = sums.sum(axis=-1, keepdims=True) / totals.sum(axis=-1, keepdims=True)
        columns += [sums / totals.mean(axis=-1, keepdims=True) - ratio * scaled, scaled]
    return np.stack(columns, axis=-1)


def _statistics(columns: Array, counts: Array) -> tuple[Array, Array]:
    """A resample's value − value, and its squared standard error, both (R, …).

    error² = C / (C − 1) · Σ_clusters count · u²,  u = Σ_terms (residual − ratio · total) / Σ total: the delta method.
    """
    num = columns.shape[-2]
    sums = np.tensordot(counts, columns, axes=(1, columns.ndim - 2))  # (R, …, K)
    apart = sums[..., 0::2] / sums[..., 1::2]
    gradient = np.empty_like(sums)
    gradient[..., 0::2], gradient[..., 1::2] = 1 / sums[..., 1::2], -apart / sums[..., 1::2]
    squares = np.zeros(sums.shape[:-1])
    for j in range(columns.shape[-1]):
        for k in range(j, columns.shape[-1]):
            product = np.tensordot(counts, columns[..., j] * columns[..., k], axes=(1, columns.ndim - 2))
            squares += (1 if j == k else 2) * gradient[..., j] * gradient[..., k] * product
    return apart.sum(axis=-1), np.maximum(squares, 0.0) * num / (num - 1)


def _studentised(columns: Array, counts: Array, error: Array) -> Array:
    """(R, …) t*; infinite for a resample without spread."""
    apart, squared = _statistics(columns, counts)
    flat = squared <= 1e-12 * error**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(flat, np.where(apart == 0, 0.0, np.sign(apart) * np.inf), apart / np.sqrt(squared))
