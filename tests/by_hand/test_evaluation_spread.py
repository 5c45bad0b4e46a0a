"""The spread of scores and its jackknife interval, worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preflab.evaluation.spread import spread_difference, spread_interval, spread_left_out


def test_spread_is_the_standard_deviation_of_all_rows() -> None:
    # 0, 2 of prompt a and 4 of prompt b: mean 2, squares 4 + 0 + 4 = 8, √(8/3).
    value, left_out = spread_left_out([0.0, 2.0, 4.0], ["a", "a", "b"])
    assert value == pytest.approx(math.sqrt(8 / 3))
    # Without a: the 4 alone, spread 0. Without b: 0 and 2, spread 1.
    assert left_out == pytest.approx([0.0, 1.0])


NINE_ZEROS = [0.0] * 9 + [10.0]
"""Mean 1, spread √(100/10 − 1) = 3. Without a zero: √(100/9 − 100/81) = √800/9 = 3.142697; without the ten: 0."""
ERROR = math.sqrt(9 / 10 * (9 / 10) * (800 / 81))
"""Nine values a = √800/9 and one 0 around their mean: Σ = 9 a² − (9 a)²/10 = 9 a² / 10; times (C − 1)/C = 9/10."""
T = 2.262157
"""Student's 97.5 % quantile with 9 degrees of freedom."""


def test_interval_is_tukeys_jackknife() -> None:
    found = spread_interval(NINE_ZEROS, list("abcdefghij"))
    assert found.value == pytest.approx(3)
    assert (found.low, found.high) == (pytest.approx(3 - T * ERROR), pytest.approx(3 + T * ERROR))
    assert found.num == 10


def test_difference_leaves_a_prompt_out_of_both() -> None:
    # The second's scores are twice the first's: the spread doubles, so the difference is the first's spread.
    first = np.array(NINE_ZEROS)
    found = spread_difference(first, 2 * first, list("abcdefghij"))
    assert found.value == pytest.approx(3)
    assert found.high - found.value == pytest.approx(T * ERROR)


def test_fewer_than_ten_prompts_have_no_interval() -> None:
    found = spread_interval([0.0, 0.0, 6.0], ["a", "b", "c"])
    assert found.value == pytest.approx(math.sqrt(8))
    assert not found.defined


def test_a_common_offset_changes_nothing_and_missing_scores_are_left_out() -> None:
    value, _ = spread_left_out([1e6, 1e6 + 2e-3, math.nan], ["a", "b", "c"])
    assert value == pytest.approx(1e-3, rel=1e-6)


def test_no_scores_have_no_spread() -> None:
    found = spread_interval([math.nan, math.nan], ["a", "b"])
    assert math.isnan(found.value)
    assert not found.defined
