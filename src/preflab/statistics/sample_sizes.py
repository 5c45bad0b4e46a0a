"""The number of prompts that a comparison needs, from the difference, its spread and the wanted power."""

from __future__ import annotations

import math

from scipy.stats import nct, t

from preflab.errors import PreflabError
from preflab.statistics.interval import FEWEST, LEVEL, POWER, Interval

MOST = 10_000_000
"""Most prompts that the search considers."""


def prompts_needed(difference: float, deviation: float, *, power: float = POWER, level: float = LEVEL) -> int:
    """The fewest prompts, at least 10, with which Student's paired test finds a true difference with this power.

    power(n) = P(T > t) + P(T < −t), T noncentral t with n − 1 degrees of freedom, centre √n · difference / deviation.

    Args:
        difference: the true mean difference that should be found.
        deviation: standard deviation of the per-prompt differences, e.g. from an earlier evaluation.
        power: probability of finding it.
        level: coverage of the interval that has to exclude 0.

    Raises:
        PreflabError: no difference, a negative spread, or more than ten million prompts needed.
    """
    if difference == 0 or not deviation > 0:
        raise PreflabError(
            f"a difference of {difference} with a standard deviation of {deviation}",
            "a difference other than 0 and a positive deviation",
            "name the smallest difference that matters",
        )
    low, high = FEWEST - 1, FEWEST
    while _power(high, abs(difference) / deviation, level) < power:
        low, high = high, 2 * high
        if high > MOST:
            raise PreflabError(
                f"a difference of {difference} with a standard deviation of {deviation}",
                f"one that {MOST:,} prompts can show",
                "ask for a larger difference",
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, abs(difference) / deviation, level) >= power else (middle, high)
    return high


def deviation_of(difference: Interval) -> float:
    """The standard deviation of per-prompt differences behind an interval: half its width · √n / t; nan without one."""
    if not difference.defined:
        return math.nan
    half = (difference.high - difference.low) / 2
    return half * math.sqrt(difference.num) / float(t.ppf((1 + LEVEL) / 2, difference.num - 1))


def _power(num: int, effect: float, level: float) -> float:
    edge, centre = float(t.ppf((1 + level) / 2, num - 1)), math.sqrt(num) * effect
    return float(nct.sf(edge, num - 1, centre) + nct.cdf(-edge, num - 1, centre))
