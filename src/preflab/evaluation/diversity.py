"""Diversity: distinct n-grams over a set of texts, and repeated n-grams within a completion."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from preflab.statistics.interval import Interval
from preflab.statistics.jackknife import jackknife_interval

Item = TypeVar("Item", bound=Hashable)
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """Lower-case words and punctuation marks: `words("I'm in, OK?")` → ["i'm", "in", ",", "ok", "?"]."""
    return WORD.findall(text.lower())


def ngrams(items: Sequence[Item], n: int) -> list[tuple[Item, ...]]:
    """All runs of n consecutive items, in order; [] for fewer than n items."""
    return [tuple(items[i : i + n]) for i in range(len(items) - n + 1)]


def distinct_n_left_out(
    texts: Sequence[Sequence[Item]], n: int, clusters: Sequence[Hashable]
) -> tuple[float, NDArray[np.float64]]:
    """distinct_n of the whole set, and (C,) distinct_n with each cluster left out; nan if the set has no n-grams.

    distinct_n = U / N: distinct n-grams of the set over all n-grams of the set (Li et al. 2016).

    Leaving out cluster i removes its n_i n-grams, and of the distinct ones the own_i that no other cluster has:
    U₋ᵢ / N₋ᵢ = (U − own_i) / (N − n_i).
    """
    order: dict[Hashable, int] = {}
    index = [order.setdefault(cluster, len(order)) for cluster in clusters]
    sizes = np.zeros(len(order))
    owner: dict[tuple[Item, ...], int] = {}
    for cluster, text in zip(index, texts, strict=True):
        for gram in ngrams(text, n):
            sizes[cluster] += 1
            owner[gram] = cluster if owner.get(gram, cluster) == cluster else -1
    own = np.zeros(len(order))
    for cluster in owner.values():
        if cluster >= 0:
            own[cluster] += 1
    total = sizes.sum()
    if total == 0:
        return float("nan"), np.full(len(order), np.nan)
    remaining = np.maximum(total - sizes, 1)
    return len(owner) / float(total), (len(owner) - own) / remaining


def distinct_interval(texts: Sequence[Sequence[Item]], n: int, clusters: Sequence[Hashable]) -> Interval:
    """distinct_n with a jackknife interval over clusters."""
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
