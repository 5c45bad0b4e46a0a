"""Wilson's interval over prompts, and the difference of two shares, with numbers worked out beside the assertion."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preflab.statistics.interval import NOTHING
from preflab.statistics.shares import (
    interval_of_counts,
    share_difference,
    share_difference_ends,
    share_ends,
    share_interval,
    wilson,
)

Z, T9 = 1.959964, 2.262157
"""97.5 % quantiles of the normal distribution and of Student's t with nine degrees of freedom."""


def by_hand(share: float, num: float, z: float = Z) -> tuple[float, float]:
    centre, scale = share + z * z / (2 * num), 1 + z * z / num
    half = z * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    return (centre - half) / scale, (centre + half) / scale


def test_wilson_by_hand() -> None:
    # p = 1/2, n = 4: centre 1/2, half = z √(1/16 + z²/64) / (1 + z²/4).
    half = Z * math.sqrt(1 / 16 + Z * Z / 64) / (1 + Z * Z / 4)
    assert wilson(0.5, 4) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    # No success in n: high = z² / (n + z²).
    none = share_interval([0] * 96)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(Z * Z / (96 + Z * Z), abs=1e-6)
    five = share_interval([1] * 5)
    assert (five.low, five.high) == (pytest.approx(5 / (5 + Z * Z), abs=1e-6), 1.0)


def test_single_rows_have_the_n_of_rows() -> None:
    interval = share_interval([1, 0, 0, 0])
    assert (interval.low, interval.high) == pytest.approx(by_hand(0.25, 4), abs=1e-6)
    assert interval.num == 4
    ninety = share_interval([1, 0, 0, 0], level=0.9)
    assert (ninety.low, ninety.high) == pytest.approx(by_hand(0.25, 4, 1.644854), abs=1e-6)


def test_the_design_effect_of_ten_prompts_by_hand() -> None:
    """Two rows each: three prompts with 2 of 2, three with 0, four with 1; the share is ½ of 20.

    Binomial variance 1/80; between prompts 6/400 · 10/9 = 1/60: the effect is 4/3, so n is 15 (z/t)².
    """
    hits = [2, 2, 2, 0, 0, 0, 1, 1, 1, 1]
    interval = interval_of_counts(hits, [2] * 10)
    assert (interval.low, interval.high) == pytest.approx(by_hand(0.5, 15 * (Z / T9) ** 2), abs=1e-6)
    assert (interval.value, interval.num) == (0.5, 10)
    # Prompts more alike than chance: the effect is at least 1.
    interval = interval_of_counts([1] * 10, [2] * 10)
    assert (interval.low, interval.high) == pytest.approx(by_hand(0.5, 20 * (Z / T9) ** 2), abs=1e-6)


def test_too_few_mixed_prompts_count_as_one_answer_each() -> None:
    # Of ten prompts four have a failure: no effect is estimated from so few, and n is 10.
    interval = interval_of_counts([2, 2, 2, 2, 2, 2, 1, 1, 1, 1], [2] * 10)
    assert (interval.low, interval.high) == pytest.approx(by_hand(0.8, 10), abs=1e-6)
    # And of ten prompts four have a success.
    interval = interval_of_counts([0, 0, 0, 0, 0, 0, 1, 1, 1, 1], [2] * 10)
    assert (interval.low, interval.high) == pytest.approx(by_hand(0.2, 10), abs=1e-6)
    # With a fifth one it is: share 3/4, binomial 3/320, between (5/4 + 5/4) / 400 · 10/9 = 1/144, the effect 1.
    interval = interval_of_counts([2, 2, 2, 2, 2, 1, 1, 1, 1, 1], [2] * 10)
    assert (interval.low, interval.high) == pytest.approx(by_hand(0.75, 20 * (Z / T9) ** 2), abs=1e-6)
    # Of unequal sizes: (1 + 3)² / (1 + 9) = 1.6 independent answers.
    interval = interval_of_counts([1, 3], [1, 3])
    assert (interval.low, interval.high) == (pytest.approx(by_hand(1.0, 1.6)[0], abs=1e-6), 1.0)


def test_prompts_that_agree_within_have_at_least_the_n_of_prompts() -> None:
    # Ten prompts of three rows, all or none: the effect is 30 · 10/9 / 10 = 10/3, 9 (z/t)² is below 10.
    interval = interval_of_counts([3, 0] * 5, [3] * 10)
    assert (interval.low, interval.high) == pytest.approx(by_hand(0.5, 10), abs=1e-6)


def test_one_prompt_and_none() -> None:
    one = share_interval([1, 0], ["p", "p"])
    assert (one.low, one.high) == pytest.approx(by_hand(0.5, 1), abs=1e-6)
    assert one.num == 1
    empty = share_interval([])
    assert math.isnan(empty.value)
    assert (empty.num, empty.note, empty.defined) == (0, NOTHING, False)


def test_rows_without_a_value_are_left_out() -> None:
    rows, prompts = [1, 1, 0, 0, 1, 0], ["p", "p", "q", "q", "r", "r"]
    assert share_interval([*rows, math.nan], [*prompts, "s"]) == share_interval(rows, prompts)


def test_difference_of_shares_by_hand() -> None:
    """Ten prompts, 0 of 10 and 4 of 10: Σ d = Σ d² = 4, mean 4/12, variance (5/12 − 1/9) / 12 = 11/432."""
    interval = share_difference([0] * 10, [1] * 4 + [0] * 6)
    half = T9 * math.sqrt(11 / 432)
    assert interval.value == pytest.approx(0.4)
    assert (interval.low, interval.high) == pytest.approx((1 / 3 - half, 1 / 3 + half), abs=1e-6)
    assert interval.num == 10
    turned = share_difference([1] * 4 + [0] * 6, [0] * 10)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-interval.high, -interval.low, interval.p))


def test_equal_answers_have_a_difference_with_a_width() -> None:
    # All equal: mean 0, variance (1/12) / 12.
    interval = share_difference([1] * 10, [1] * 10)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.0, -T9 / 12, T9 / 12), abs=1e-6)
    assert interval.p == pytest.approx(1.0)


def test_difference_of_shares_with_unequal_prompts() -> None:
    """p: 0 of 1, then 1 of 1; q: 1 of 3, then 2 of 3: shares 1/4 and 3/4.

    Residuals hits − share · rows over mean rows 2: second 1/8 and −1/8, first −1/8 and 1/8, so the prompts differ by
    3/4 and 1/4: mean 1/4 of four prompts, variance ((5/8 + 1)/4 − 1/16) / 4 = 11/128. At level ½, t of one degree of
    freedom is 1; p = 1 − 2/π · atan(mean / error).
    """
    interval = share_difference([0, 1, 0, 0], [1, 1, 1, 0], ["p", "q", "q", "q"], level=0.5)
    error = math.sqrt(11 / 128)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.5, 0.25 - error, 0.25 + error))
    assert interval.p == pytest.approx(1 - 2 / math.pi * math.atan(0.25 / error))
    wide = share_difference([0, 1, 0, 0], [1, 1, 1, 0], ["p", "q", "q", "q"])
    assert (wide.low, wide.high) == (-1.0, 1.0)


def test_difference_of_shares_needs_two_prompts_with_both() -> None:
    assert share_difference([0.0, math.nan], [1.0, 1.0]).note == "no interval: too few (n = 1)"
    assert share_difference([math.nan], [1.0]).note == NOTHING


def test_the_p_value_of_a_difference_agrees_with_its_interval() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        first, second = generator.random((2, 20)) < 0.3
        interval = share_difference(first, second | (generator.random(20) < 0.3))
        assert interval.excludes_zero == (interval.p < 0.05)


def test_many_data_sets_at_once_have_the_ends_of_each() -> None:
    hits, rows = np.array([[2.0, 0, 1, 1, 2, 0, 1, 0, 1, 1], [0.0] * 9 + [3.0]]), np.array([[2.0] * 10, [3.0] * 10])
    for place, ends in enumerate(zip(*share_ends(hits, rows), strict=True)):
        alone = interval_of_counts(hits[place], rows[place])
        assert ends == pytest.approx((alone.value, alone.low, alone.high))
    apart = np.array([[0.0] * 6 + [1.0] * 4, [-0.5] * 3 + [0.0] * 7])
    for place, parts in enumerate(zip(*share_difference_ends(apart), strict=True)):
        assert parts == pytest.approx(tuple(float(part) for part in share_difference_ends(apart[place])))


def test_what_has_no_interval_keeps_its_value_and_number() -> None:
    one = share_difference([0.0, math.nan], [1.0, 1.0])
    assert (one.value, one.num, one.defined) == (1.0, 1, False)
    none = share_difference([math.nan], [1.0])
    assert (math.isnan(none.value), none.num, none.defined) == (True, 0, False)
