"""Coefficients of agreement (alpha, kappa): the jackknife over tasks on the atanh scale, with Student's t.

Every coefficient is a function of sums over tasks, so the value without a task is that of the sums without its addends.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import t

from preflab.statistics.clusters import Array
from preflab.statistics.interval import FEWEST, LEVEL, Interval, too_few, too_few_differ, undefined

Statistic = Callable[[Array], Array]
"""Sums (R, F) → values (R,), nan where undefined."""
MIN_RARE = 1.0
"""Fewest tasks on which two answers would both differ from the most frequent one by chance."""


def coefficient_interval(
    counts: Array, statistic: Statistic, outside: Statistic | None = None, *, level: float = LEVEL
) -> Interval:
    """statistic(Σ counts over tasks) with its interval; see `coefficient_ends`.

    There is none with fewer than 10 tasks, at full agreement, where no task changes the value, or where answers other
    than the most frequent one are so rare that chance would bring two of them together on less than one task: tasks ·
    outside² < 1. The value is nan where the statistic is.

    Args:
        counts: (T, F), the addends of each task.
        statistic: function of the sums, between −1 and 1.
        outside: share of the answers that differ from the most frequent one, a function of the sums; None: no limit.
        level: coverage of the interval.
    """
    num = len(counts)
    value, low, high = (float(part) for part in coefficient_ends(counts, statistic, level))
    if math.isnan(value):
        return undefined(value, num, "")
    if num < FEWEST:
        return undefined(value, num, too_few(num))
    rare = math.inf if outside is None else num * float(outside(counts.sum(axis=0, keepdims=True))[0]) ** 2
    if rare < MIN_RARE or math.isnan(low):
        return undefined(value, num, too_few_differ(num))
    return Interval(value, low, high, num)


def coefficient_ends(counts: Array, statistic: Statistic, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """Values (…) and the ends of their intervals, of tasks with addends (…, T, F); nan where there is no interval.

        error = √((T − 1)/T · Σ_i (θ₋ᵢ − mean θ₋ᵢ)²) / (1 − θ²),  bias = (T − 1) · (mean θ₋ᵢ − θ) / (1 − θ²)
        ends  = tanh(atanh θ − bias ∓ t · error)

    θ₋ᵢ is the value without task i; t has T − 1 degrees of freedom. Source: Tukey 1958, on the scale of Fisher 1921.
    """
    num = counts.shape[-2]
    sums = counts.sum(axis=-2, keepdims=True)
    value = _apply(statistic, sums)[..., 0]
    if num < 2:
        return value, np.full_like(value, math.nan), np.full_like(value, math.nan)
    left_out = _apply(statistic, sums - counts)
    spread = np.sqrt((num - 1) / num * ((left_out - left_out.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        usable = (spread > 1e-9) & (np.abs(value) < 1 - 1e-9)
        half = np.where(usable, t.ppf((1 + level) / 2, num - 1) * spread / (1 - value**2), math.nan)
        bias = (num - 1) * (left_out.mean(axis=-1) - value) / (1 - value**2)
        centre = np.arctanh(np.clip(value, -1, 1)) - bias
        return value, np.tanh(centre - half), np.tanh(centre + half)


def _apply(statistic: Statistic, sums: Array) -> Array:
    return statistic(sums.reshape(-1, sums.shape[-1])).reshape(sums.shape[:-1])
