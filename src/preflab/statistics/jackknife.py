"""Figures of a whole set, such as distinct-n: resampling with replacement would itself create repeats."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from preflab.statistics.clusters import Array
from preflab.statistics.interval import FEWEST, LEVEL, NO_VARIATION, NOTHING, Interval, too_few, undefined


def jackknife_interval(value: float, left_out: ArrayLike, *, level: float = LEVEL) -> Interval:
    """A value with Student's interval over clusters.

    Args:
        value: of the whole set.
        left_out: (C,) the value without each cluster.
        level: coverage of the interval.
    """
    values = np.asarray(left_out, dtype=np.float64)
    num = len(values)
    if math.isnan(value):
        return undefined(value, num, NOTHING)
    if num < 2:
        return undefined(value, num, too_few(num))
    error = float(jackknife_error(values))
    if error == 0:
        return undefined(value, num, NO_VARIATION)
    if num < FEWEST:
        return undefined(value, num, too_few(num))
    half = float(t.ppf((1 + level) / 2, num - 1)) * error
    return Interval(value, value - half, value + half, num, p=float(2 * t.sf(abs(value) / error, num - 1)))


def jackknife_error(left_out: Array) -> Array:
    """Standard errors (…): error² = (C − 1)/C · Σ_i (θ₋ᵢ − mean θ₋ᵢ)², θ₋ᵢ (…, C) without cluster i (Tukey 1958)."""
    num = left_out.shape[-1]
    apart = left_out - left_out.mean(axis=-1, keepdims=True)
    return np.asarray(np.sqrt((num - 1) / num * (apart**2).sum(axis=-1)), dtype=np.float64)
