"""Confidence intervals: bootstrap over prompts, paired differences, proportions, the jackknife.

Prompts (clusters) are resampled, never single rows: completions of one prompt are alike, and intervals that treat them
as independent are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

Array = NDArray[np.float64]
NO_VARIATION = "no variation"
NOT_ENOUGH = "fewer than two prompts"
POWER = 0.8
"""Probability with which a true difference of size `detectable` is found."""
CHUNK = 4_000_000
"""Most cells of the resampling matrix in memory at once (32 MB)."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval. Without an interval `low` and `high` are nan and `note` says why."""

    value: float
    low: float
    high: float
    num: int
    """Prompts behind the value."""
    note: str = ""

    @property
    def defined(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def excludes_zero(self) -> bool:
        """Whether zero is outside the interval: a difference was found."""
        return self.defined and (self.low > 0 or self.high < 0)

    @property
    def detectable(self) -> float:
        """The true difference that would be found with 80 % power: (z_0.975 + z_0.8) × standard error.

        The standard error is half the interval's width divided by z_0.975; nan without an interval.
        """
        z = float(norm.ppf(0.975))
        return (z + float(norm.ppf(POWER))) * (self.high - self.low) / (2 * z)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; nan becomes None."""
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(self).items()}


def undefined(value: float, num: int, note: str) -> Interval:
    """A value without an interval, with the reason."""
    return Interval(value, math.nan, math.nan, num, note)


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


def resample_counts(num_clusters: int, num_resamples: int, seed: int) -> Iterator[Array]:
    """Counts of how often each cluster is drawn in each resample: chunks (R, C) whose rows sum to C."""
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // max(1, num_clusters))
    share = np.full(num_clusters, 1.0 / num_clusters)
    for start in range(0, num_resamples, rows):
        size = min(rows, num_resamples - start)
        yield generator.multinomial(num_clusters, share, size=size).astype(np.float64)


def bootstrap_mean(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    weights: ArrayLike | None = None,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
    method: Literal["percentile", "bca"] = "bca",
) -> Interval:
    """The mean Σ values / Σ weights with a bootstrap interval over clusters (Efron 1987).

    Args:
        values: (N,); nan rows are left out.
        clusters: (N,) the prompt of each row; None: every row is its own cluster.
        weights: (N,) denominators, 1 by default; with token counts the result is a mean per token.
        level: coverage of the interval.
        method: `percentile`, or `bca` (bias-corrected and accelerated, better for small n).
    """
    sums, totals = cluster_totals(values, weights, clusters)
    used = totals > 0
    return _bootstrap_ratios([(sums[used], totals[used])], level, num_resamples, seed, method)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    weights: tuple[ArrayLike, ArrayLike] | None = None,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
    method: Literal["percentile", "bca"] = "bca",
) -> Interval:
    """mean(second) − mean(first) over the same prompts; each resample draws the same prompts for both.

    Args:
        first, second: (N,) aligned rows; a prompt without any value in one of them is left out of both.
        clusters: (N,) the prompt of each row; None: every row is its own cluster.
        weights: (N,) denominators of `first` and of `second`, 1 by default.
    """
    weights_first, weights_second = weights or (None, None)
    sums_a, totals_a = cluster_totals(first, weights_first, clusters)
    sums_b, totals_b = cluster_totals(second, weights_second, clusters)
    both = (totals_a > 0) & (totals_b > 0)
    pairs = [(-sums_a[both], totals_a[both]), (sums_b[both], totals_b[both])]
    return _bootstrap_ratios(pairs, level, num_resamples, seed, method)


def _bootstrap_ratios(
    terms: list[tuple[Array, Array]], level: float, num_resamples: int, seed: int, method: str
) -> Interval:
    """Σ_terms (Σ sums / Σ totals) with its interval; each resample draws the same clusters for all terms."""
    num = len(terms[0][0])
    if num == 0:
        return undefined(math.nan, 0, NOT_ENOUGH)
    value = float(sum(sums.sum() / totals.sum() for sums, totals in terms))
    if num < 2:
        return undefined(value, num, NOT_ENOUGH)
    left_out = sum((sums.sum() - sums) / (totals.sum() - totals) for sums, totals in terms)
    if np.ptp(left_out) <= 1e-12 * max(1.0, float(np.abs(left_out).max())):
        return undefined(value, num, NO_VARIATION)
    draws = np.concatenate(
        [
            sum((counts @ sums) / (counts @ totals) for sums, totals in terms)
            for counts in resample_counts(num, num_resamples, seed)
        ]
    )
    shares = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        shares = _bca_shares(shares, value, draws, np.asarray(left_out))
    low, high = np.quantile(draws, shares)
    return Interval(value, float(low), float(high), num)


def _bca_shares(shares: Array, value: float, draws: Array, left_out: Array) -> Array:
    """(2,) the BCa quantiles of the draws: Φ(z0 + (z0 + z) / (1 − a (z0 + z))), Efron 1987, equation 2.3."""
    below = float(np.mean(draws < value) + 0.5 * np.mean(draws == value))
    edge = 0.5 / len(draws)
    bias = float(norm.ppf(min(max(below, edge), 1 - edge)))
    centred = left_out.mean() - left_out
    acceleration = float((centred**3).sum() / (6 * ((centred**2).sum()) ** 1.5))
    z = bias + norm.ppf(shares)
    return np.asarray(norm.cdf(bias + z / (1 - acceleration * z)), dtype=np.float64)


def proportion(successes: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95) -> Interval:
    """A share with Wilson's interval (1927), which has a width at 0 and 1 too, unlike a bootstrap.

    With several rows per cluster, n in the formula is divided by the design effect (between-cluster variance over
    binomial variance, at least 1). At a share of 0 or 1 it cannot be estimated, and n is the number of clusters.
    """
    hits, rows = cluster_totals(np.asarray(successes, dtype=np.float64), None, clusters)
    hits, rows = hits[rows > 0], rows[rows > 0]
    if len(rows) == 0:
        return undefined(math.nan, 0, NOT_ENOUGH)
    num, total = len(rows), float(rows.sum())
    share = float(hits.sum() / total)
    binomial = share * (1 - share) / total
    between = float(((hits - share * rows) ** 2).sum()) / total**2 * (num / max(1, num - 1))
    effective = total / max(1.0, between / binomial) if binomial > 0 else float(num)
    low, high = wilson(share, effective, level)
    return Interval(share, low, high, num)


def wilson(share: float, num: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval: (low, high) = (p + z²/2n ∓ z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)."""
    z = float(norm.ppf((1 + level) / 2))
    centre = (share + z * z / (2 * num)) / (1 + z * z / num)
    half = z * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num)) / (1 + z * z / num)
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)


def jackknife(value: float, left_out: ArrayLike, *, level: float = 0.95) -> Interval:
    """A value with a normal interval; SE² = (n−1)/n · Σ (θ₋ᵢ − mean θ₋ᵢ)², θ₋ᵢ without cluster i (Tukey 1958).

    It is for figures of a whole set such as distinct-n: resampling with replacement would itself create repeats.
    """
    values = np.asarray(left_out, dtype=np.float64)
    num = len(values)
    if num < 2:
        return undefined(value, num, NOT_ENOUGH)
    error = math.sqrt((num - 1) / num * float(((values - values.mean()) ** 2).sum()))
    if error == 0:
        return undefined(value, num, NO_VARIATION)
    half = float(norm.ppf((1 + level) / 2)) * error
    return Interval(value, value - half, value + half, num)


def sentence(difference: Interval, what: str, number: Callable[[float], str] = "{:.2f}".format) -> str:
    """A difference in words: found, not found (with the difference that could have been found), or undefined."""
    if not difference.defined:
        return f"{what}: no interval, {difference.note or 'undefined'} (n = {difference.num})"
    span = f"95 % interval {number(difference.low)} to {number(difference.high)}, n = {difference.num}"
    if difference.excludes_zero:
        direction = "higher" if difference.value > 0 else "lower"
        return f"{what} is {number(abs(difference.value))} {direction} ({span})"
    return f"{what}: no difference found (could have seen {number(difference.detectable)}; {span})"
