"""Means of values from 0 to 1, such as probabilities: bootstrap-t, or a share's interval where it is far narrower.

Bootstrap-t has no bound. If 397 of 400 probabilities are nearly equal, 5 % of the resamples hold none of the other 3
and have hardly any spread, and an end lands far outside 0 to 1, or there is none. Values from 0 to 1 never spread more
than shares of the same mean do, so a share's interval is wide enough for them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from numpy.typing import ArrayLike

from preflab.statistics.interval import FEWEST, FEWEST_PAIRED, NO_VARIATION, Interval
from preflab.statistics.means import mean_interval, paired_difference
from preflab.statistics.shares import share_difference, share_interval

WIDER = 1.5
"""How many times as wide as a share's interval bootstrap-t's may be; choosing between like ones would cover less."""


def bounded_mean(values: ArrayLike, clusters: Sequence[Hashable] | None = None, *, seed: int = 0) -> Interval:
    """The mean of values (N,) from 0 to 1: `mean_interval`, or `share_interval` if that one is far narrower."""
    return _chosen(mean_interval(values, clusters, seed=seed), share_interval(values, clusters), FEWEST, 0.0)


def bounded_difference(
    first: ArrayLike, second: ArrayLike, clusters: Sequence[Hashable] | None = None, *, seed: int = 0
) -> Interval:
    """mean(second) − mean(first) of aligned values (N,) from 0 to 1, over the same prompts.

    `paired_difference`, or `share_difference` if that one is far narrower, with the p-value of the same one.
    """
    by_resampling = paired_difference(first, second, clusters, seed=seed)
    return _chosen(by_resampling, share_difference(first, second, clusters), FEWEST_PAIRED, -1.0)


def _chosen(by_resampling: Interval, as_share: Interval, fewest: int, least: float) -> Interval:
    """`as_share` if the other is over 1.5 times as wide or lacks spread; few or equal values keep their note.

    The ends stay within `least` and 1.
    """
    if by_resampling.num < fewest or by_resampling.note == NO_VARIATION:
        return by_resampling
    if not by_resampling.defined:
        return as_share
    limit = WIDER * (as_share.high - as_share.low)
    found = as_share if by_resampling.high - by_resampling.low > limit else by_resampling
    return replace(found, low=max(found.low, least), high=min(found.high, 1.0))
