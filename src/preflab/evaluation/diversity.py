"""Diversity: distinct n-grams over a set of texts, and repeated n-grams within a completion."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preflab.statistics.interval import Interval
from preflab.statistics.jackknife import jackknife_interval

Item = TypeVar("Item", bound=Hashable)
Array = NDArray[np.float64]
LEAST_SHARE = 0.25
"""Least share of the jackknife's variance that is kept: where nearly every n-gram recurs, the terms are uncertain."""
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """Lower-case words and punctuation marks: `words("I'm in, OK?")` → ["i'm", "in", ",", "ok", "?"]."""
    return WORD.findall(text.lower())


def ngrams(items: Sequence[Item], n: int) -> list[tuple[Item, ...]]:
    """All runs of n consecutive items, in order; [] for fewer than n items."""
    return [tuple(items[i : i + n]) for i in range(len(items) - n + 1)]


def distinct_n_left_out(texts: Sequence[Sequence[Item]], n: int, clusters: Sequence[Hashable]) -> tuple[float, Array]:
    """distinct_n of the whole set, and (C,) values for the jackknife's interval; nan if the set has no n-grams.

    distinct_n = U / N: distinct n-grams of the set over all n-grams of the set (Li et al. 2016).

    Leaving out cluster i removes its n_i n-grams, and of the distinct ones the own_i that no other cluster has:
    U₋ᵢ / N₋ᵢ = (U − own_i) / (N − n_i). The returned values use own_i from `without_overstating`, nearer to their mean.
    """
    order: dict[Hashable, int] = {}
    index = [order.setdefault(cluster, len(order)) for cluster in clusters]
    sizes = np.zeros(len(order))
    holders: dict[tuple[Item, ...], set[int]] = {}
    for cluster, text in zip(index, texts, strict=True):
        for gram in ngrams(text, n):
            sizes[cluster] += 1
            holders.setdefault(gram, set()).add(cluster)
    own = np.zeros(len(order))
    for held in holders.values():
        if len(held) == 1:
            own[next(iter(held))] += 1
    total = sizes.sum()
    if total == 0:
        return float("nan"), np.full(len(order), np.nan)
    num_held = [len(held) for held in holders.values()]
    own = without_overstating(own, num_held.count(2), num_held.count(3))
    return len(holders) / float(total), (len(holders) - own) / np.maximum(total - sizes, 1)


def without_overstating(own: ArrayLike, num_of_two: ArrayLike, num_of_three: ArrayLike) -> Array:
    """(…, C) own_i moved towards their mean, so that the jackknife does not overstate the variance of U.

    The jackknife's variance is too large by the n-grams that two clusters share, and too small by those of three; the
    terms after that are left out (Efron and Stein 1981). With few clusters these counts say little, hence 5 / C:

        own_i → mean + √share · (own_i − mean)
        share = 1 − (1 − 5 / C) · (f_2 − f_3) / Σ (own_i − mean)²,  between LEAST_SHARE and 1

    Args:
        own: (…, C) distinct n-grams that cluster i alone has.
        num_of_two: (…) f_2, distinct n-grams of exactly two clusters.
        num_of_three: (…) f_3, those of exactly three.
    """
    values = np.asarray(own, dtype=np.float64)
    mean = values.mean(axis=-1, keepdims=True)
    spread = ((values - mean) ** 2).sum(axis=-1)
    surplus = max(0.0, 1 - 5 / values.shape[-1]) * (np.asarray(num_of_two) - np.asarray(num_of_three))
    share = np.clip(1 - surplus / np.maximum(spread, np.finfo(np.float64).tiny), LEAST_SHARE, 1)
    return np.asarray(mean + np.sqrt(share)[..., None] * (values - mean), dtype=np.float64)


def distinct_interval(texts: Sequence[Sequence[Item]], n: int, clusters: Sequence[Hashable]) -> Interval:
    """distinct_n with an interval over clusters by the jackknife, whose overstatement is taken off."""
    return jackknife_interval(*distinct_n_left_out(texts, n, clusters))


def distinct_difference(
    first: Sequence[Sequence[Item]], second: Sequence[Sequence[Item]], n: int, clusters: Sequence[Hashable]
) -> Interval:
    """distinct_n(second) − distinct_n(first) with a jackknife interval: each cluster is left out of both at once."""
    value_a, left_out_a = distinct_n_left_out(first, n, clusters)
    value_b, left_out_b = distinct_n_left_out(second, n, clusters)
    return jackknife_interval(value_b - value_a, left_out_b - left_out_a)


def repeated_share(items: Sequence[Hashable], n: int = 3) -> float:
    """Share of a completion's n-grams that repeat an earlier one: 1 − distinct / all; 0 if it has no n-grams."""
    grams = ngrams(items, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
