"""The tilted optimum on three outcomes, worked out by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from preflab.evaluation.tilting import (
    best_of_n_value,
    nats_needed,
    tilt,
    tilted_curve,
)

LN2 = math.log(2)
# Reference 1/2, 1/4, 1/4 as the samples 0, 0, 1, 2 (in units of ln 2); at β = 1 the factors are 1, 1, 2, 4.
SAMPLES = [0.0, 0.0, LN2, 2 * LN2]


def test_three_outcomes_by_hand() -> None:
    # Weights 1, 1, 2, 4 over 8: π* = 1/4, 1/4, 1/2.
    point = tilt(SAMPLES, 1.0)
    assert point.value == pytest.approx((1 / 4 * 1 + 1 / 2 * 2) * LN2)
    # KL = 1/4 ln(1/2) + 1/4 ln 1 + 1/2 ln 2 = 1/4 ln 2.
    assert point.kl == pytest.approx(LN2 / 4)
    # 1 / Σ w² = 64 / (1 + 1 + 4 + 16).
    assert point.effective == pytest.approx(64 / 22)


def test_half_the_price_squares_the_factors() -> None:
    # β = 1/2: factors 1, 1, 4, 16 over 22: π* = 2, 4, 16 over 22.
    point = tilt(SAMPLES, 0.5)
    assert point.value == pytest.approx((4 + 32) / 22 * LN2)
    expected = 2 / 22 * math.log(4 / 22) + 4 / 22 * math.log(16 / 22) + 16 / 22 * math.log(64 / 22)
    assert point.kl == pytest.approx(expected)


def test_no_tilt_is_the_reference() -> None:
    point = tilt(SAMPLES, math.inf)
    assert (point.value, point.kl, point.effective) == pytest.approx((3 / 4 * LN2, 0.0, 4.0))


def test_prompts_are_tilted_apart() -> None:
    # One prompt with rewards 0, ln 2 (weights 1/3, 2/3), one whose rewards are both 10: nothing to gain there.
    # Tilting the pool would put nearly all weight on the second prompt, which no policy can do.
    point = tilt([0.0, LN2, 10.0, 10.0], 1.0, ["p", "p", "q", "q"])
    assert point.value == pytest.approx((2 / 3 * LN2 + 10) / 2)
    first = 1 / 3 * math.log(2 / 3) + 2 / 3 * math.log(4 / 3)
    assert point.kl == pytest.approx(first / 2)
    assert point.effective == pytest.approx((9 / 5 + 2) / 2)


def test_the_estimate_matches_the_normal_distribution() -> None:
    # Rewards N(0, 1) under the reference: at β the optimum is N(1/β, 1), its KL 1 / 2β².
    point = tilt(np.random.default_rng(0).normal(size=200_000), 1.25)
    assert point.value == pytest.approx(0.8, abs=0.01)
    assert point.kl == pytest.approx(0.32, abs=0.01)


def test_the_curve_rises_and_ends_where_few_samples_carry_it() -> None:
    rewards = np.random.default_rng(1).normal(size=2000)
    curve = tilted_curve(rewards, min_effective=50)
    assert curve[0].kl == 0
    assert curve[0].value == pytest.approx(rewards.mean())
    assert all(a.value < b.value and a.kl < b.kl for a, b in pairwise(curve))
    assert all(point.effective >= 50 for point in curve)
    assert tilt(rewards, curve[-1].beta / 1.5).effective < 50
    assert len(tilted_curve([1.0, 1.0, 1.0])) == 1


def test_the_curve_has_points_from_thirty_deviations_to_a_hundredth_of_one() -> None:
    """0, 4, 4, 0 has the deviation 2: from 60 to 0.02 by way of √(60 · 0.02). At 0.02 two samples carry all."""
    rewards = [0.0, 4.0, 4.0, 0.0]
    curve = tilted_curve(rewards, min_effective=2.0, num_points=3)
    assert [point.beta for point in curve] == pytest.approx([math.inf, 60.0, math.sqrt(1.2), 0.02])
    assert curve[-1].effective == 2.0, "exactly as many as asked for"
    assert len(tilted_curve(rewards, min_effective=2.1, num_points=3)) < 4
    assert len(tilted_curve(rewards)) == 1, "fewer than eight samples"
    assert len(tilted_curve(rewards * 4)) == 61
    # Seven of 14 are the effective number at the end.
    assert 1 < len(tilted_curve(rewards * 3 + [0.0, 4.0])) < 61


def test_nats_needed_reads_the_curve_backwards() -> None:
    curve = tilted_curve(np.random.default_rng(2).normal(size=100_000), min_effective=100)
    # Value v needs v²/2 nats.
    assert nats_needed(curve, 1.0) == pytest.approx(0.5, abs=0.03)
    assert nats_needed(curve, 99.0) is None
    assert nats_needed(curve, -5.0) == 0.0


def test_best_of_n() -> None:
    # Best of two of 1, 2, 4: pairs have maxima 2, 4, 4.
    assert best_of_n_value([4.0, 1.0, 2.0], 2) == pytest.approx(10 / 3)
    assert best_of_n_value([4.0, 1.0, 2.0], 3) == 4.0
    assert best_of_n_value([1.0, 3.0, 5.0, 5.0], 1, ["p", "p", "q", "q"]) == pytest.approx(3.5)
    with pytest.raises(ValueError, match="at least 3"):
        best_of_n_value([1.0, 2.0], 3)


def test_large_rewards_per_price_do_not_overflow() -> None:
    # exp(±2000) is beyond any float; all weight is on the one good sample: KL = log 2.
    point = tilt([0.0, 4000.0], 2.0)
    assert (point.value, point.kl, point.effective) == pytest.approx((4000.0, LN2, 1.0))
    point = tilt([0.0, -4000.0], 2.0)
    assert (point.value, point.kl, point.effective) == pytest.approx((0.0, LN2, 1.0))


def test_the_curve_begins_at_thirty_deviations_and_ends_at_a_hundredth() -> None:
    # Rewards 0 and 2: deviation 1. Two samples, of which any tilt leaves more than one: the curve goes to its end.
    curve = tilted_curve([0.0, 2.0], min_effective=1.0, num_points=3)
    assert [point.beta for point in curve] == pytest.approx([math.inf, 30.0, math.sqrt(0.3), 0.01])
    assert len(tilted_curve([0.0, 2.0], min_effective=1.0)) == 61
    # By default eight samples have to carry it: of ten samples with one good, w = 1/k each of the others.
    assert all(point.effective >= 8.0 for point in tilted_curve([0.0] * 9 + [1.0]))
    assert tilt([0.0] * 9 + [1.0], tilted_curve([0.0] * 9 + [1.0])[-1].beta / 1.2).effective < 8.0


def test_exactly_the_least_number_of_samples_is_enough() -> None:
    # Within each prompt the rewards are equal, so that two samples carry the weight at any price.
    curve = tilted_curve([0.0, 0.0, 2.0, 2.0], ["p", "p", "q", "q"], min_effective=2.0)
    assert len(curve) == 61
    assert {point.kl for point in curve} == {0.0}


def test_nats_are_read_between_points_by_straight_lines() -> None:
    # At the end of the curve its last KL; half-way in value half-way in KL.
    curve = tilted_curve([0.0, 2.0], min_effective=1.0, num_points=3)
    low, high = curve[0], curve[1]
    assert nats_needed([high, low], (low.value + high.value) / 2) == pytest.approx(high.kl / 2)
    assert nats_needed(curve, curve[-1].value) == pytest.approx(curve[-1].kl)
    assert nats_needed([], 0.0) is None
