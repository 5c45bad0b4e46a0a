"""Several training runs as the unit: the mean over seeds with Student's t.

An interval over prompts covers other prompts; only an interval over runs covers another training seed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from preflab.statistics.interval import LEVEL, NO_VARIATION, NOTHING, Interval, all_equal, too_few, undefined


def mean_over_runs(values: ArrayLike, *, level: float = LEVEL) -> Interval:
    """The mean of one value per run with Student's interval: mean ∓ t · s / √S, t with S − 1 degrees of freedom.

    Args:
        values: (S,) one figure per training seed; two are enough, and give a wide interval (t = 12.7).
        level: coverage of the interval.
    """
    runs = np.asarray(values, dtype=np.float64)
    num = len(runs)
    if num == 0 or np.isnan(runs).any():
        return undefined(math.nan, num, NOTHING)
    value = float(runs.mean())
    if num < 2:
        return undefined(value, num, too_few(num))
    if all_equal(runs):
        return undefined(value, num, NO_VARIATION)
    error = float(runs.std(ddof=1)) / math.sqrt(num)
    half = float(t.ppf((1 + level) / 2, num - 1)) * error
    return Interval(value, value - half, value + half, num, p=float(2 * t.sf(abs(value) / error, num - 1)))
