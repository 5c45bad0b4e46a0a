"""Bootstrap-t against the draws written out, Student's t by hand, and what has no interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from preflab.statistics import means
from preflab.statistics.clusters import cluster_totals
from preflab.statistics.interval import NO_VARIATION, NOTHING
from preflab.statistics.means import NUM_RESAMPLES, mean_ends, mean_interval, paired_difference, resample_counts

Array = NDArray[np.float64]
T9 = 2.262157


def written_out(sums: list[Array], totals: list[Array], seed: int) -> tuple[float, float, float]:
    """(low, high, p) by one loop over the resamples: the clusters drawn are put side by side."""

    def measure(rows: Array) -> tuple[float, float]:
        num, values, influence = len(rows), [], np.zeros(len(rows))
        for s, w in zip(sums, totals, strict=True):
            ratio = s[rows].sum() / w[rows].sum()
            values.append(ratio)
            influence += (s[rows] - ratio * w[rows]) / w[rows].sum()
        return sum(values), math.sqrt(num / (num - 1) * (influence**2).sum())

    num = len(sums[0])
    value, error = measure(np.arange(num))
    drawn = []
    for counts in np.random.default_rng(seed).multinomial(num, [1 / num] * num, size=1999):
        mean, spread = measure(np.repeat(np.arange(num), counts))
        drawn.append((mean - value) / spread)
    drawn.sort()
    t = {10: T9, 15: 2.144787}[num]
    beyond = sum(each >= value / error for each in drawn) if value > 0 else sum(each <= value / error for each in drawn)
    return value - max(drawn[-50], t) * error, value - min(drawn[49], -t) * error, 2 * (1 + beyond) / 2000


def test_a_mean_has_the_ends_of_the_draws_written_out() -> None:
    rows = np.random.default_rng(3).exponential(size=10) - 0.9
    interval = mean_interval(rows, seed=4)
    low, high, p = written_out([rows], [np.ones(10)], 4)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-6)
    assert interval.p >= p - 1e-12


def test_a_mean_over_prompts_of_unequal_size_written_out() -> None:
    generator = np.random.default_rng(9)
    prompts = [i for i in range(15) for _ in range(1 + i % 3)]
    rows = generator.exponential(size=len(prompts))
    sums = np.array([sum(row for row, prompt in zip(rows, prompts, strict=True) if prompt == i) for i in range(15)])
    sizes = np.array([1.0 + i % 3 for i in range(15)])
    interval = mean_interval(rows, prompts, seed=3)
    assert interval.value == pytest.approx(rows.mean())
    assert (interval.low, interval.high) == pytest.approx(written_out([sums], [sizes], 3)[:2], abs=1e-6)


def test_a_difference_per_token_written_out() -> None:
    """−(Σ a / Σ tokens of a) + Σ b / Σ tokens of b, the same prompts drawn for both."""
    generator = np.random.default_rng(2)
    first, second = generator.exponential(size=15), 2 * generator.exponential(size=15)
    lengths = [generator.integers(1, 9, size=15).astype(float) for _ in range(2)]
    interval = paired_difference(first, second, weights=(lengths[0], lengths[1]), seed=5)
    assert interval.value == pytest.approx(second.sum() / lengths[1].sum() - first.sum() / lengths[0].sum())
    assert (interval.low, interval.high) == pytest.approx(written_out([-first, second], lengths, 5)[:2], abs=1e-6)


def test_no_end_is_nearer_than_students() -> None:
    """Five times −1 and 1, and −2 and 2 once: symmetric, s² = 18/11, error √(18/132); t of 11 degrees 2.200985."""
    values = [-1.0, 1.0] * 5 + [-2.0, 2.0]
    error = math.sqrt(18 / 132)
    for seed in range(5):
        interval = mean_interval(values, seed=seed)
        assert interval.low <= -2.200985 * error + 1e-6
        assert interval.high >= 2.200985 * error - 1e-6


def test_the_p_value_is_at_least_students() -> None:
    # Nine 1 and a 2: mean 1.1, s² = 0.1, error 0.1, t = 11: no resample is beyond, so 2/2000, and Student's is smaller.
    assert mean_interval([1.0] * 9 + [2.0]).note == "no interval: too few differ (n = 10)"
    low, _, p = mean_ends([(np.linspace(1.0, 2.0, 10)[None], np.ones((1, 10)))])
    assert float(p[0]) == pytest.approx(2 / 2000)
    assert float(low[0]) > 0


def test_the_p_value_agrees_with_the_interval() -> None:
    generator = np.random.default_rng(1)
    intervals = [mean_interval(generator.normal(0.5, 1, size=15), seed=seed) for seed in range(60)]
    assert [each.excludes_zero for each in intervals] == [each.p <= 0.05 for each in intervals]
    assert 10 < sum(each.excludes_zero for each in intervals) < 50


def test_skewed_values_widen_the_side_of_their_tail() -> None:
    interval = mean_interval(np.random.default_rng(0).lognormal(size=30))
    assert interval.high - interval.value > 1.3 * (interval.value - interval.low)


def test_the_value_is_the_mean_and_nan_rows_are_left_out() -> None:
    interval = mean_interval([*range(12), math.nan])
    assert interval.value == pytest.approx(5.5)
    assert interval.num == 12
    assert interval.low < 5.5 < interval.high


def test_clusters_widen_the_interval_by_the_square_root_of_their_size() -> None:
    # Each prompt's value written down 9 times: the information is that of one, the naive standard error a third.
    values = np.random.default_rng(1).normal(size=100)
    repeated, prompts = np.repeat(values, 9), np.repeat(np.arange(100), 9).tolist()
    right, naive = mean_interval(repeated, prompts), mean_interval(repeated)
    assert (right.high - right.low) / (naive.high - naive.low) == pytest.approx(3.0, rel=0.12)


def test_equal_seeds_give_equal_intervals() -> None:
    rows = np.random.default_rng(4).exponential(size=50)
    assert mean_interval(rows, seed=5) == mean_interval(rows, seed=5)
    assert mean_interval(rows, seed=5) != mean_interval(rows, seed=6)
    assert mean_interval(rows) == mean_interval(rows, seed=0, level=0.95)
    assert mean_interval(rows, level=0.9).high < mean_interval(rows).high


def test_pairing_removes_what_prompts_share() -> None:
    # b = a + 1/2 + small noise while a itself has spread 10: unpaired this could not be seen.
    generator = np.random.default_rng(5)
    a = generator.normal(scale=10, size=80)
    interval = paired_difference(a, a + 0.5 + generator.normal(scale=0.1, size=80))
    assert interval.value == pytest.approx(0.5, abs=0.05)
    assert interval.excludes_zero
    assert interval.high - interval.low < 0.06


def test_difference_is_second_minus_first_over_prompts_both_have() -> None:
    interval = paired_difference([1.0, math.nan, 3.0, 0.0], [2.0, 100.0, 6.0, 2.0])
    assert interval.value == pytest.approx((1 + 3 + 2) / 3)
    assert (interval.num, interval.note) == (3, "no interval: too few (n = 3)")


def test_weights_make_a_mean_per_token() -> None:
    # 3 nats over 1 token and 1 nat over 3 tokens: 4 nats over 4 tokens, not (3 + 1/3) / 2.
    assert mean_interval([3.0, 1.0], weights=[1, 3]).value == pytest.approx(1.0)
    # 4 nats over 2 tokens and 8 over 4: 12 / 6 = 2. 3 over 1 and 3 over 1: 3.
    assert paired_difference([4.0, 8.0], [3.0, 3.0], weights=([2, 4], [1, 1])).value == pytest.approx(1.0)
    # A prompt whose weight is 0 on one side is left out of both: 8 / 4 = 2 against 5.
    interval = paired_difference([0.0, 8.0], [3.0, 5.0], weights=([0, 4], [1, 1]))
    assert (interval.value, interval.num) == (3.0, 1)


def test_no_variation_is_said_and_not_shown_as_certainty() -> None:
    interval = mean_interval([2.0] * 10)
    assert (interval.value, interval.note, interval.num) == (2.0, NO_VARIATION, 10)
    assert not interval.defined
    assert interval.to_json()["low"] is None
    assert mean_interval([2.0] * 6, list("ppqrrr")).note == NO_VARIATION
    assert paired_difference([1.0, 2.0], [2.0, 3.0]).note == NO_VARIATION


@pytest.mark.parametrize(
    ("first", "apart", "equal"), [(1e6, 1e-7, True), (1e6, 1e-5, False), (1e-3, 5e-13, True), (1e-3, 5e-12, False)]
)
def test_differences_within_rounding_are_no_variation(first: float, apart: float, equal: bool) -> None:
    """A millionth of a millionth of the largest, at least of 1, may be rounding."""
    assert (mean_interval([first, first + apart]).note == NO_VARIATION) is equal


def test_too_few_prompts_have_no_interval() -> None:
    assert mean_interval([1.0]).note == "no interval: too few (n = 1)"
    assert mean_interval(range(9)).note == "no interval: too few (n = 9)"
    assert mean_interval(range(10)).defined
    assert paired_difference([0.0] * 5, range(5)).note == "no interval: too few (n = 5)"
    assert paired_difference([0.0] * 6, range(6)).defined
    for interval in (mean_interval([]), mean_interval([math.nan]), paired_difference([1.0], [math.nan])):
        assert math.isnan(interval.value)
        assert (interval.num, interval.note, interval.defined) == (0, NOTHING, False)


def test_nearly_equal_values_have_no_interval() -> None:
    # One of ten differs: a resample without it, 0.9¹⁰ = 35 % of them, has no spread. Of ten half: 2 · 0.5¹⁰ = 0.2 %.
    interval = mean_interval([0.0] * 9 + [1.0])
    assert (interval.value, interval.note) == (pytest.approx(0.1), "no interval: too few differ (n = 10)")
    assert mean_interval([0.0] * 5 + [1.0, 2.0, 3.0, 4.0, 5.0]).defined


def test_quantiles_more_than_fifty_errors_away_are_infinite() -> None:
    far = means._unless_far(np.array([50.0, -50.0, 50.5, -50.5, 0.0, -math.inf]))
    assert far.tolist() == [50.0, -50.0, math.inf, -math.inf, 0.0, -math.inf]


def test_resamples_of_values_at_the_mean_are_no_distance_from_it() -> None:
    """−1, 1 and eight 0: 0.8¹⁰ = 11 % of the resamples hold only 0, and their t* is 0, so the interval is Student's.

    s² = 2/9, error √(2/90). An end beyond Student's needs t* > 2.26: a surplus of four of ten, 0.5 % of the resamples.
    """
    interval = mean_interval([-1.0, 1.0] + [0.0] * 8)
    assert (interval.low, interval.high) == pytest.approx((-T9 * math.sqrt(2 / 90), T9 * math.sqrt(2 / 90)), abs=1e-6)
    assert (interval.value, interval.p) == (0.0, 1.0)


def test_many_data_sets_at_once_have_the_ends_of_each() -> None:
    generator = np.random.default_rng(6)
    values, sizes = generator.exponential(size=(3, 12)), generator.integers(1, 9, size=(3, 12)).astype(float)
    ends = mean_ends([(values, sizes)], seed=2)
    for row, size, *parts in zip(values, sizes, *ends, strict=True):
        interval = mean_interval(row, weights=size, seed=2)
        assert parts == pytest.approx([interval.low, interval.high, interval.p])


def test_what_is_resampled_in_pieces_is_resampled_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(4).normal(size=50)
    whole = mean_interval(rows)
    monkeypatch.setattr(means, "CHUNK", 500)
    assert [len(counts) for counts in resample_counts(50, 0)][:2] == [10, 10]
    pieces = mean_interval(rows)
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high))


@pytest.mark.parametrize("cells", [4_000_000, 30])
def test_every_resample_draws_as_many_prompts_as_there_are(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(means, "CHUNK", cells)
    drawn = np.concatenate(list(resample_counts(3, seed=0)))
    assert drawn.shape == (NUM_RESAMPLES, 3) == (1999, 3)
    assert set(drawn.sum(axis=1)) == {3.0}


def test_rows_without_a_value_add_nothing_to_their_prompt() -> None:
    cases: Any = ((None, [0, 2, 3], [0, 1, 1]), (["p", "q", "q"], [0, 5], [0, 2]))
    for clusters, sums, totals in cases:
        both = cluster_totals([math.nan, 2, 3], None, clusters)
        assert (both[0].tolist(), both[1].tolist()) == (sums, totals)


def test_prompts_without_a_value_keep_their_place() -> None:
    # The last prompt has no value on one side, nor the first on the other: only q is compared.
    interval = paired_difference([1.0, 2.0, math.nan], [math.nan, 5.0, 7.0], ["p", "q", "r"])
    assert (interval.value, interval.num) == (3.0, 1)
    # Two rows of p of which one has no value: p's mean is 4, q's 2.
    assert mean_interval([4.0, math.nan, 2.0], ["p", "p", "q"]).value == pytest.approx(3.0)
    assert mean_interval([4.0, math.nan, 2.0], ["p", "p", "q"]).num == 2
