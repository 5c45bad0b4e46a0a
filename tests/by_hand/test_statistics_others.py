"""Jackknife intervals, runs as the unit, families and sample sizes, with numbers worked out beside the assertion."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preflab.errors import PreflabError
from preflab.statistics.agreement import coefficient_ends, coefficient_interval
from preflab.statistics.holm import holm
from preflab.statistics.interval import NO_VARIATION, NOTHING, ONE_DECIDES, Interval, sentence
from preflab.statistics.jackknife import jackknife_error, jackknife_interval, positive_interval
from preflab.statistics.sample_sizes import _power, deviation_of, prompts_needed
from preflab.statistics.training_runs import mean_over_runs

T9 = 2.262157
"""97.5 % quantile of Student's t with nine degrees of freedom."""
EIGHT_OF_TEN = np.array([[1.0, 1.0]] * 8 + [[0.0, 1.0]] * 2)
"""Hits and trials of ten tasks."""


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    # Five 0 and five 2, one left out: 10/9 and 8/9. Error² = 9/10 · 10/81 = 1/9, as s²/n = (10/9)/10.
    interval = jackknife_interval(1.0, [10 / 9] * 5 + [8 / 9] * 5)
    assert (interval.low, interval.high) == pytest.approx((1 - T9 / 3, 1 + T9 / 3), abs=1e-6)
    assert interval.num == 10
    assert interval.p == pytest.approx(0.0150, abs=2e-4)  # t = 3 with nine degrees of freedom
    assert jackknife_interval(1.0, [10 / 9] * 5 + [8 / 9] * 5, level=0.9).high == pytest.approx(1 + 1.833113 / 3)


def test_jackknife_without_an_interval() -> None:
    assert jackknife_interval(1.0, [1.0]).note == "no interval: too few (n = 1)"
    assert jackknife_interval(1.0, [2.0, 3.0, 1.0]).note == "no interval: too few (n = 3)"
    assert jackknife_interval(1.0, [2.0, 2.0, 2.0]).note == NO_VARIATION
    assert jackknife_interval(math.nan, [math.nan] * 12).note == NOTHING
    assert (jackknife_interval(3.0, [1.0]).value, jackknife_interval(3.0, [1.0]).num) == (3.0, 1)


def test_coefficient_on_the_atanh_scale_by_hand() -> None:
    """2 · share − 1 of eight hits in ten tasks: 3/5. Without a hit 5/9, without a miss 7/9; their mean is 3/5.

    Σ = 8 (2/45)² + 2 (8/45)² = 160/2025, times 9/10 is (4/15)²; divided by 1 − 9/25 it is 5/12. atanh(3/5) = ln 2.
    """
    interval = coefficient_interval(EIGHT_OF_TEN, lambda sums: 2 * sums[:, 0] / sums[:, 1] - 1)
    ends = [math.tanh(math.log(2) + side * T9 * 5 / 12) for side in (-1, 1)]
    assert interval.value == pytest.approx(0.6)
    assert (interval.low, interval.high) == pytest.approx(tuple(ends), abs=1e-6)


def test_coefficient_is_moved_by_its_bias() -> None:
    """The squared share: 16/25. Without a hit 49/81, without a miss 64/81, mean 52/81: 9 (52/81 − 16/25) = 4/225."""
    interval = coefficient_interval(EIGHT_OF_TEN, lambda sums: (sums[:, 0] / sums[:, 1]) ** 2)
    middle = (math.atanh(interval.low) + math.atanh(interval.high)) / 2
    assert middle == pytest.approx(math.atanh(0.64) - 4 / 225 / (1 - 0.64**2))
    assert interval.value == pytest.approx(0.64)


def test_coefficients_without_an_interval() -> None:
    def doubled(sums: np.ndarray) -> np.ndarray:
        return np.asarray(2 * sums[:, 0] / sums[:, 1] - 1)

    assert coefficient_interval(EIGHT_OF_TEN[:9], doubled).note == "no interval: too few (n = 9)"
    full = coefficient_interval(np.ones((12, 2)), doubled)
    assert (full.value, full.note) == (1.0, "no interval: too few differ (n = 12)")
    # Ten tasks with a share of 0.3 outside the most frequent answer: 10 · 0.09 < 1; with 0.32 it is above 1.
    rare = coefficient_interval(EIGHT_OF_TEN, doubled, lambda sums: np.array([0.3]))
    assert (rare.value, rare.note) == (pytest.approx(0.6), "no interval: too few differ (n = 10)")
    assert coefficient_interval(EIGHT_OF_TEN, doubled, lambda sums: np.array([0.32])).defined
    assert math.isnan(coefficient_interval(EIGHT_OF_TEN, lambda sums: np.full(len(sums), math.nan)).value)


def test_three_runs_by_hand() -> None:
    # 1, 2, 3: mean 2, s = 1, t of two degrees of freedom 4.302653; p = 1 − x / √(2 + x²) with x = 2 √3.
    interval = mean_over_runs([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (interval.value, interval.low, interval.high) == pytest.approx((2.0, 2 - half, 2 + half), abs=1e-6)
    assert interval.num == 3
    assert interval.p == pytest.approx(1 - 2 * math.sqrt(3) / math.sqrt(14))


def test_runs_without_an_interval() -> None:
    assert mean_over_runs([1.0]).note == "no interval: too few (n = 1)"
    assert mean_over_runs([]).note == NOTHING
    assert mean_over_runs([1.0, 1.0]).note == NO_VARIATION


def test_holm_by_hand() -> None:
    # 3 · 0.01, 2 · 0.03, and 1 · 0.04, which may not be below the one before it.
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "none": math.nan})
    assert [corrected[name] for name in "abc"] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(corrected["none"])
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({"only": 0.04}) == {"only": 0.04}
    assert holm({}) == {}


@pytest.mark.parametrize(("effect", "num"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_sizes_are_those_of_the_tables(effect: float, num: int) -> None:
    """Paired t-test, two-sided 5 %, power 80 %: Cohen 1988's small, medium and large effects, as in G*Power."""
    assert prompts_needed(effect, 1.0) == num
    assert prompts_needed(-3 * effect, 3.0) == num


def test_sizes_have_a_floor_and_refuse_what_cannot_be_found() -> None:
    assert prompts_needed(10.0, 1.0) == 10
    for difference, deviation in ((0.0, 1.0), (1.0, 0.0), (1.0, math.nan), (1e-6, 1.0)):
        with pytest.raises(PreflabError):
            prompts_needed(difference, deviation)


def test_the_deviation_behind_an_interval() -> None:
    # Ten prompts, half width 2.262157 · s / √10 with s = 3.
    half = T9 * 3 / math.sqrt(10)
    assert deviation_of(Interval(1.0, 1 - half, 1 + half, 10)) == pytest.approx(3.0, abs=1e-6)
    assert math.isnan(deviation_of(Interval(1.0, math.nan, math.nan, 4)))


def test_sentences_say_found_not_found_and_no_interval() -> None:
    assert sentence(Interval(0.5, 0.1, 0.9, 40), "gold") == "gold is 0.50 higher (95 % interval 0.10 to 0.90, n = 40)"
    # Width 0.2: standard error 0.1 / 1.96, times 1.96 + 0.8416 = 0.1429.
    text = sentence(Interval(0.0, -0.1, 0.1, 40), "gold")
    assert text == "gold: no difference found (could have seen 0.14; 95 % interval -0.10 to 0.10, n = 40)"
    few = Interval(0.5, math.nan, math.nan, 4, "no interval: too few (n = 4)")
    assert sentence(few, "gold") == "gold: no interval: too few (n = 4)"
    assert sentence(Interval(-0.5, -0.9, -0.1, 4), "gold").startswith("gold is 0.50 lower")


def test_an_interval_at_zero_finds_nothing() -> None:
    assert not Interval(0.5, 0.0, 1.0, 9).excludes_zero
    assert not Interval(-0.5, -1.0, 0.0, 9).excludes_zero
    assert Interval(-0.5, -1.0, -0.1, 9).excludes_zero
    assert not Interval(0.5, math.nan, 1.0, 9).defined
    assert not Interval(0.5, 0.0, math.nan, 9).defined
    assert Interval(0.5, 0.0, 1.0, 9).to_json() == {
        "value": 0.5, "low": 0.0, "high": 1.0, "num": 9, "note": "", "p": None,
    }  # fmt: skip


def test_positive_value_has_its_interval_on_the_logarithm_less_the_bias() -> None:
    """Logarithms 0.3 and 0.1 above that of 2: bias 1 · 0.2, error √(1/2 · (0.01 + 0.01)) = 0.1.

    With one degree of freedom t is 1 at level ½, and 12.706205 at 95 %.
    """
    left_out = [2 * math.exp(0.3), 2 * math.exp(0.1)]
    half = positive_interval(2.0, left_out, level=0.5, fewest=2)
    assert (half.low, half.high) == pytest.approx((2 * math.exp(-0.3), 2 * math.exp(-0.1)))
    assert (half.value, half.num) == (2.0, 2)
    wide = positive_interval(2.0, left_out, fewest=2)
    assert (wide.low, wide.high) == pytest.approx((2 * math.exp(-1.4706205), 2 * math.exp(1.0706205)), rel=1e-6)


def test_positive_value_that_one_prompt_decides_has_no_interval() -> None:
    assert positive_interval(2.0, [1.0, 4.0], fewest=2).defined, "half of the whole is not less than half"
    assert positive_interval(2.0, [0.99, 4.0], fewest=2).note == ONE_DECIDES
    assert positive_interval(2.0, [0.0, 4.0], fewest=2).note == "no interval: too few differ (n = 2)"
    assert positive_interval(0.0, [0.0, 0.0], fewest=2).note == NO_VARIATION
    assert positive_interval(2.0, [2.0], fewest=1).note == "no interval: too few (n = 1)"
    assert positive_interval(2.0, [1.9, 2.1] * 4 + [2.0]).note == "no interval: too few (n = 9)"
    assert positive_interval(2.0, [1.9, 2.1] * 5).defined
    assert positive_interval(math.nan, [1.0] * 12).note == NOTHING


def test_many_data_sets_at_once_have_the_errors_of_each() -> None:
    left_out = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 9.0]])
    # 2/3 (1 + 0 + 1) and 2/3 (9 + 9 + 36).
    assert jackknife_error(left_out).tolist() == pytest.approx([math.sqrt(4 / 3), 6.0])
    shares = np.stack([EIGHT_OF_TEN, EIGHT_OF_TEN[::-1] * [[1.0, 2.0]]])
    value, low, high = coefficient_ends(shares, lambda sums: sums[:, 0] / sums[:, 1])
    assert value.tolist() == pytest.approx([0.8, 0.4])
    for place in (0, 1):
        alone = coefficient_interval(shares[place], lambda sums: sums[:, 0] / sums[:, 1])
        assert (low[place], high[place]) == pytest.approx((alone.low, alone.high))


def test_coefficient_of_two_tasks_on_the_atanh_scale() -> None:
    """Shares 1/4 and 3/4: ½, without one of them 3/4 or 1/4. Error √(1/2 · 2/16) / (3/4) = 1/3; at level ½ t is 1."""
    counts = np.array([[1.0, 4.0], [3.0, 4.0]])
    value, low, high = coefficient_ends(counts, lambda sums: sums[:, 0] / sums[:, 1], 0.5)
    assert float(value) == 0.5
    assert (float(low), float(high)) == pytest.approx(tuple(math.tanh(math.atanh(0.5) + s / 3) for s in (-1, 1)))
    assert np.isnan(coefficient_ends(counts[:1], lambda sums: sums[:, 0] / sums[:, 1])[1:]).all()


def test_what_has_no_interval_keeps_its_value_and_number() -> None:
    for interval, value, num in (
        (mean_over_runs([1.0, 1.0]), 1.0, 2),
        (mean_over_runs([3.0]), 3.0, 1),
        (jackknife_interval(4.0, [2.0, 2.0, 2.0]), 4.0, 3),
        (jackknife_interval(4.0, [2.0, 1.0, 2.0]), 4.0, 3),
        (coefficient_interval(EIGHT_OF_TEN[:9], lambda sums: sums[:, 0] / sums[:, 1]), 8 / 9, 9),
        (coefficient_interval(np.ones((12, 2)), lambda sums: sums[:, 0] / sums[:, 1]), 1.0, 12),
    ):
        assert (interval.value, interval.num) == (pytest.approx(value), num)
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
    assert (mean_over_runs([]).num, math.isnan(mean_over_runs([]).value)) == (0, True)
    nothing = jackknife_interval(math.nan, [math.nan] * 12)
    assert (nothing.num, math.isnan(nothing.value)) == (12, True)


def test_sizes_depend_on_power_and_level() -> None:
    """Effect ½: 44 pairs for 90 % power, 51 for 80 % at the 99 % level, as in G*Power."""
    assert prompts_needed(0.5, 1.0, power=0.9) == 44
    assert prompts_needed(0.5, 1.0, level=0.99) == 51


def test_power_without_an_effect_is_the_tests_size() -> None:
    """1 − level, half of it on each side; a wrong number of degrees of freedom on one of them would change the sum."""
    for num, level in ((2, 0.95), (3, 0.95), (10, 0.95), (10, 0.5)):
        assert _power(num, 1e-9, level) == pytest.approx(1 - level, abs=1e-6)


def test_power_of_two_pairs_by_hand() -> None:
    """One degree of freedom at level ½: t = (z + c) / |w| with z and w standard normal, and the edges are −1 and 1.

    z − w and z + w are independent with variance 2, so P(z + c > |w|) = Φ(c / √2)², and P(z + c < −|w|) = Φ(−c / √2)².
    With two pairs c = √2 · effect; an effect of 1 gives Φ(1)² + Φ(−1)².
    """
    assert _power(2, 1.0, 0.5) == pytest.approx(0.8413447**2 + 0.1586553**2, abs=1e-6)


def test_figures_that_differ_by_rounding_have_no_interval_of_no_width() -> None:
    # 0.1 + 0.2 = 0.30000000000000004
    assert jackknife_interval(0.3, [0.3, 0.1 + 0.2] * 8).note == NO_VARIATION
    assert mean_over_runs([0.1 + 0.2, 0.3, 0.3]).note == NO_VARIATION
    assert mean_over_runs([0.3, 0.3 + 1e-6]).defined


def test_run_without_a_figure_leaves_no_mean_over_runs() -> None:
    found = mean_over_runs([math.nan, 1.0, 2.0])
    assert math.isnan(found.value)
    assert found.note == NOTHING
