"""Means of values from 0 to 1: a share's interval by hand where bootstrap-t leaves the range, else bootstrap-t."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from preflab.statistics.bounded import bounded_difference, bounded_mean
from preflab.statistics.interval import NO_VARIATION
from preflab.statistics.means import mean_interval, paired_difference

LOW = [0.04 + 1e-6] * 48 + [0.04 - 1e-6] * 48 + [0.04]
FEW_HIGH = np.array([*LOW, 0.96, 0.96, 0.96])


def test_mean_with_three_rare_values_has_wilsons_interval() -> None:
    # mean = 0.97 · 0.04 + 0.03 · 0.96 = 0.0676, n = 100, z² = 3.841459
    # centre = (0.0676 + 0.0192073) / 1.0384146 = 0.083596
    # half = 1.959964 · √(0.0676 · 0.9324 / 100 + 3.841459 / 40000) / 1.0384146 = 0.050868
    assert mean_interval(FEW_HIGH).note.startswith("no interval: too few differ")
    found = bounded_mean(FEW_HIGH)
    assert found.value == pytest.approx(0.0676, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((0.032728, 0.134464), abs=2e-6)


def test_difference_with_three_rare_values_has_agresti_mins_interval() -> None:
    # Σ d = 3 · 0.92 = 2.76, centre = 2.76 / 102 = 0.0270588, Σ d² = 2.5392
    # error = √((3.5392 / 102 − 0.0270588²) / 102) = 0.0182483, t = 1.984217 with 99 degrees of freedom
    first = np.full(100, 0.04)
    assert paired_difference(first, FEW_HIGH).note.startswith("no interval: too few differ")
    found = bounded_difference(first, FEW_HIGH)
    assert found.value == pytest.approx(0.0276, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((-0.009150, 0.063267), abs=2e-6)
    assert found.p == pytest.approx(0.1413, abs=2e-4)


def test_bootstrap_t_of_1_8_times_the_width_gives_way_and_of_1_4_times_stays() -> None:
    # Mean (28 · 0.1 + 2) / 30 = 0.16, n = 30: centre (0.16 + 3.841459 / 60) / 1.128049 = 0.198595,
    # half = 1.959964 · √(0.16 · 0.84 / 30 + 3.841459 / 3600) / 1.128049 = 0.129405.
    wide = [0.06, 0.14] * 14 + [1.0, 1.0]
    by_resampling, found = mean_interval(wide), bounded_mean(wide)
    assert 1.5 < (by_resampling.high - by_resampling.low) / (2 * 0.129405) < 2
    assert (found.low, found.high) == pytest.approx((0.069190, 0.328000), abs=2e-6)
    # Mean (18 · 0.2 + 1.8) / 20 = 0.27, n = 20: half = 1.959964 · √(0.27 · 0.73 / 20 + 3.841459 / 1600) / 1.192073.
    narrower = [0.16, 0.24] * 9 + [0.9, 0.9]
    found = bounded_mean(narrower)
    assert found == mean_interval(narrower)
    assert 1.3 < (found.high - found.low) / (2 * 0.182020) < 1.5


def concentrated(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0.4, 0.6, size=50)


def test_concentrated_values_keep_bootstrap_t() -> None:
    assert bounded_mean(concentrated(0)) == mean_interval(concentrated(0))
    first, second = concentrated(0), concentrated(1)
    assert bounded_difference(first, second) == paired_difference(first, second)


def test_ends_stay_within_0_and_1() -> None:
    # mean 0.948, Σ of squares 0.07216, error = √(0.07216 / 9 / 10) = 0.0283, t = 2.2622: 0.948 + 0.064 is above 1
    values = [1.0, 1.0, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.7, 0.99]
    assert mean_interval(values).high > 1
    assert bounded_mean(values).high == 1.0


def test_equal_or_few_values_have_no_interval() -> None:
    assert bounded_mean([0.3] * 20).note == NO_VARIATION
    assert not bounded_mean([0.1, 0.9, 0.4]).defined
    assert not bounded_difference([0.1, 0.9], [0.2, 0.4]).defined


def test_one_rare_value_has_an_interval_though_resamples_lack_spread() -> None:
    # Wilson, p = 0.05, n = 20: (0.05 + 0.0960365 ∓ 1.959964 · √(0.002375 + 0.0024009)) / 1.192073
    values = [0.0] * 19 + [1.0]
    assert not mean_interval(values).defined
    found = bounded_mean(values)
    assert (found.low, found.high) == pytest.approx((0.008881, 0.236131), abs=2e-6)
