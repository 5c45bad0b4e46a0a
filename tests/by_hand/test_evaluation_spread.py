"""The spread of scores and its jackknife interval, worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preflab.evaluation.spread import spread_difference, spread_interval, spread_left_out

Z = 1.959964


def test_spread_is_the_standard_deviation_of_all_rows() -> None:
    # 0, 2 of prompt a and 4 of prompt b: mean 2, squares 4 + 0 + 4 = 8, √(8/3).
    value, left_out = spread_left_out([0.0, 2.0, 4.0], ["a", "a", "b"])
    assert value == pytest.approx(math.sqrt(8 / 3))
    # Without a: the 4 alone, spread 0. Without b: 0 and 2, spread 1.
    assert left_out == pytest.approx([0.0, 1.0])


def test_interval_is_tukeys_jackknife() -> None:
    # Three prompts 0, 0, 6: without a 0 the rest is 0 and 6 (spread 3), without the 6 it is 0.
    # Left out 3, 3, 0: mean 2, squares 1 + 1 + 4 = 6, SE² = 2/3 · 6 = 4, SE = 2. Spread: mean 2, √(24/3) = √8.
    found = spread_interval([0.0, 0.0, 6.0], ["a", "b", "c"])
    assert found.value == pytest.approx(math.sqrt(8))
    assert (found.low, found.high) == (pytest.approx(math.sqrt(8) - 2 * Z), pytest.approx(math.sqrt(8) + 2 * Z))
    assert found.num == 3


def test_difference_leaves_a_prompt_out_of_both() -> None:
    # The second's scores are twice the first's: the spread doubles, so the difference is the first's spread.
    first, second = np.array([0.0, 0.0, 6.0]), np.array([0.0, 0.0, 12.0])
    found = spread_difference(first, second, ["a", "b", "c"])
    assert found.value == pytest.approx(math.sqrt(8))
    assert found.high - found.value == pytest.approx(2 * Z)


def test_a_common_offset_changes_nothing_and_missing_scores_are_left_out() -> None:
    value, _ = spread_left_out([1e6, 1e6 + 2e-3, math.nan], ["a", "b", "c"])
    assert value == pytest.approx(1e-3, rel=1e-6)


def test_no_scores_have_no_spread() -> None:
    found = spread_interval([math.nan, math.nan], ["a", "b"])
    assert math.isnan(found.value)
    assert not found.defined
