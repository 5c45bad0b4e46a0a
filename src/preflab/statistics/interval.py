"""A figure with its 95 % interval, or with the reason why it has none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from preflab.words import ALL_EQUAL

LEVEL = 0.95
POWER = 0.8
"""Probability with which a true difference of size `detectable` is found."""
ROUNDING = 1e-12
"""Values that differ by less, absolutely and as a share of the largest, are equal."""
FEWEST = 10
"""Fewest prompts, tasks or questions for an interval of a mean, of a coefficient or of a figure of a set.

Below it the intervals of skewed values cover less than 93 %. Shares have intervals from one prompt on.
"""
FEWEST_PAIRED = 6
"""Fewest prompts for an interval of a paired difference: with fewer, even differences of one sign may be chance."""
NOTHING = "no interval: nothing was measured"
NO_VARIATION = ALL_EQUAL
ONE_DECIDES = "no interval: a single prompt makes most of it"
"""The reason for no interval of a standard deviation that halves without one prompt."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval. Without an interval `low` and `high` are nan and `note` says why."""

    value: float
    low: float
    high: float
    num: int
    """Prompts behind the value."""
    note: str = ""
    p: float = math.nan
    """Two-sided p-value of "the true value is 0", for differences; nan without a test."""

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

    def within(self, least: float, most: float) -> Interval:
        """The interval cut to the values that the figure can have, which never excludes a true value."""
        return replace(self, low=max(self.low, least), high=min(self.high, most)) if self.defined else self

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; nan becomes None."""
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(self).items()}


def all_equal(values: NDArray[np.float64]) -> bool:
    """Whether values differ by rounding at most, which would make an interval of no width."""
    return bool(np.ptp(values) <= ROUNDING * max(1.0, float(np.abs(values).max())))


def undefined(value: float, num: int, note: str) -> Interval:
    """A value without an interval, with the reason."""
    return Interval(value, math.nan, math.nan, num, note)


def too_few(num: int) -> str:
    """The reason for no interval with too few prompts: `no interval: too few (n = 4)`."""
    return f"no interval: too few (n = {num})"


def too_few_differ(num: int) -> str:
    """The reason for no interval where nearly all values are equal, so that a resample often has no spread."""
    return f"no interval: too few differ (n = {num})"


def sentence(difference: Interval, what: str, number: Callable[[float], str] = "{:.2f}".format) -> str:
    """A difference in words: found, not found (with the difference that could have been found), or no interval."""
    if not difference.defined:
        return f"{what}: {difference.note or 'no interval'}"
    span = f"95 % interval {number(difference.low)} to {number(difference.high)}, n = {difference.num}"
    if difference.excludes_zero:
        direction = "higher" if difference.value > 0 else "lower"
        return f"{what} is {number(abs(difference.value))} {direction} ({span})"
    return f"{what}: no difference found (could have seen {number(difference.detectable)}; {span})"
