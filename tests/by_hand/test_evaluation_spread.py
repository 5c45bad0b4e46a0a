"""The spread of scores and its jackknife interval, worked out on paper."""

from __future__ import annotations

import math
from math import exp, log, sqrt

import numpy as np
import pytest

from preflab.evaluation.spread import spread_difference, spread_interval, spread_left_out
from preflab.statistics.interval import NO_VARIATION, ONE_DECIDES

SCORES = [0.0] * 24 + [5.0] * 6
T29 = 2.045230
"""97.5 % quantile of Student's t with 29 degrees of freedom."""


def test_spread_is_the_standard_deviation_of_all_rows() -> None:
    # 0, 2 of prompt a and 4 of prompt b: mean 2, squares 4 + 0 + 4 = 8, √(8/3).
    value, left_out = spread_left_out([0.0, 2.0, 4.0], ["a", "a", "b"])
    assert value == pytest.approx(math.sqrt(8 / 3))
    # Without a: the 4 alone, spread 0. Without b: 0 and 2, spread 1.
    assert left_out == pytest.approx([0.0, 1.0])


def test_interval_is_tukeys_jackknife_of_the_logarithm() -> None:
    """24 prompts with 0 and six with 5: mean 1, spread 2. Without a 0 it is √3450 / 29, without a 5 √3000 / 29.

    Of the logarithms, δ = ½ ln 1.15 apart, Σ = 24 (δ/5)² + 6 (4δ/5)² = 4.8 δ², error² = 29/30 · Σ; the bias is 29 times
    their mean less ln 2.
    """
    interval = spread_interval(SCORES, list(range(30)))
    zero, five = log(sqrt(3450) / 29), log(sqrt(3000) / 29)
    bias, error = 29 * ((24 * zero + 6 * five) / 30 - log(2)), sqrt(29 / 30 * 4.8) * log(1.15) / 2
    ends = [exp(log(2) - bias + side * T29 * error) for side in (-1, 1)]
    assert (interval.value, interval.low, interval.high) == pytest.approx((2.0, *ends), rel=1e-6)
    assert interval.num == 30


def test_difference_leaves_a_prompt_out_of_both() -> None:
    # The second's scores are twice the first's: the spread doubles, so the difference is the first's spread.
    interval = spread_difference(SCORES, 2 * np.array(SCORES), list(range(30)))
    assert interval.value == pytest.approx(2.0)
    error = sqrt(29 / 30 * 4.8) * (sqrt(3450) - sqrt(3000)) / 29
    assert interval.high - interval.value == pytest.approx(T29 * error, rel=1e-6)


def test_spread_without_an_interval() -> None:
    assert spread_interval([0.0, 0.0, 6.0], ["a", "b", "c"]).note == "no interval: too few (n = 3)"
    assert spread_interval(SCORES[1:], list(range(29))).note == "no interval: too few (n = 29)"
    assert spread_interval([3.0] * 40, list(range(40))).note == NO_VARIATION
    # With the 1 √(1.2/40 − 0.075²) = 0.156, without it √(0.2/39 − (2/39)²) = 0.050.
    assert spread_interval([0.0] * 19 + [0.1] * 20 + [1.0], list(range(40))).note == ONE_DECIDES
    # Without the one that differs there is no spread, and no logarithm.
    assert spread_interval([0.0] * 39 + [1.0], list(range(40))).note == "no interval: too few differ (n = 40)"


def test_a_common_offset_changes_nothing_and_missing_scores_are_left_out() -> None:
    value, _ = spread_left_out([1e6, 1e6 + 2e-3, math.nan], ["a", "b", "c"])
    assert value == pytest.approx(1e-3, rel=1e-6)


def test_no_scores_have_no_spread() -> None:
    interval = spread_interval([math.nan, math.nan], ["a", "b"])
    assert math.isnan(interval.value)
    assert not interval.defined
