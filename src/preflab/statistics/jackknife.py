"""The jackknife for figures of a whole set, such as distinct-n, where a bootstrap would create repeats."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from preflab.statistics.clusters import Array
from preflab.statistics.interval import (
    FEWEST,
    LEVEL,
    NO_VARIATION,
    NOTHING,
    ONE_DECIDES,
    Interval,
    all_equal,
    too_few,
    too_few_differ,
    undefined,
)

FEWEST_FOR_SPREAD = 30
"""Fewest prompts for an interval of a standard deviation: the fourth moment of skewed scores needs more than a mean."""


def jackknife_interval(value: float, left_out: ArrayLike, *, level: float = LEVEL, fewest: int = FEWEST) -> Interval:
    """A value with Student's interval over clusters.

    Args:
        value: of the whole set.
        left_out: (C,) the value without each cluster.
        level: coverage of the interval.
        fewest: fewest clusters for an interval.
    """
    values = np.asarray(left_out, dtype=np.float64)
    num = len(values)
    if math.isnan(value):
        return undefined(value, num, NOTHING)
    if num < 2:
        return undefined(value, num, too_few(num))
    if all_equal(values):
        return undefined(value, num, NO_VARIATION)
    if num < fewest:
        return undefined(value, num, too_few(num))
    error = float(jackknife_error(values))
    half = float(t.ppf((1 + level) / 2, num - 1)) * error
    return Interval(value, value - half, value + half, num, p=float(2 * t.sf(abs(value) / error, num - 1)))


def positive_interval(value: float, left_out: ArrayLike, *, level: float = LEVEL, fewest: int = FEWEST) -> Interval:
    """A positive value with Student's interval of its logarithm, moved by the jackknife's estimate of the bias.

    bias = (C − 1) · (mean log θ₋ᵢ − log θ),  ends = exp(log θ − bias ∓ t · error of the logarithms)

    Args:
        value, left_out, level, fewest: see `jackknife_interval`; there is no interval if the value without one of the
            clusters is 0 or less than half of the whole.
    """
    values = np.asarray(left_out, dtype=np.float64)
    num = len(values)
    if math.isnan(value):
        return undefined(value, num, NOTHING)
    if not value > 0:
        return undefined(value, num, NO_VARIATION)
    if num < max(2, fewest):
        return undefined(value, num, too_few(num))
    if not values.min() > 0:
        return undefined(value, num, too_few_differ(num))
    if values.min() < value / 2:
        return undefined(value, num, ONE_DECIDES)
    logs = jackknife_interval(math.log(value), np.log(values), level=level, fewest=fewest)
    bias = (num - 1) * (float(np.log(values).mean()) - math.log(value))
    return Interval(value, math.exp(logs.low - bias), math.exp(logs.high - bias), num, logs.note)


def jackknife_error(left_out: Array) -> Array:
    """Standard errors (…): error² = (C − 1)/C · Σ_i (θ₋ᵢ − mean θ₋ᵢ)², θ₋ᵢ (…, C) without cluster i (Tukey 1958)."""
    num = left_out.shape[-1]
    apart = left_out - left_out.mean(axis=-1, keepdims=True)
    return np.asarray(np.sqrt((num - 1) / num * (apart**2).sum(axis=-1)), dtype=np.float64)
