"""Intervals against what can be worked out by hand or is known of the distribution drawn from."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from scipy.stats import norm

from preflab.evaluation.frontier import frontier
from preflab.evaluation.statistics import (
    Interval,
    _bca_shares,
    bootstrap_mean,
    cluster_totals,
    jackknife,
    paired_difference,
    proportion,
    resample_counts,
    sentence,
    wilson,
)


def test_the_value_is_the_mean_and_nan_rows_are_left_out() -> None:
    found = bootstrap_mean([1.0, 2.0, math.nan, 6.0])
    assert found.value == pytest.approx(3.0)
    assert found.num == 3
    assert found.low < 3.0 < found.high


def test_two_rows_of_one_prompt_are_one_unit() -> None:
    # Prompt a: 0, 0; prompt b: 6. Mean over rows 2; resampled (aa, ab, ba, bb) it is 0, 2, 2, 6.
    found = bootstrap_mean([0.0, 0.0, 6.0], ["a", "a", "b"], method="percentile")
    assert (found.value, found.low, found.high, found.num) == (2.0, 0.0, 6.0, 2)


def test_clusters_widen_the_interval_by_the_square_root_of_their_size() -> None:
    # Each prompt's value written down 9 times: the information is that of one, the naive standard error a third.
    values = np.random.default_rng(1).normal(size=100)
    repeated, prompts = np.repeat(values, 9), np.repeat(np.arange(100), 9).tolist()
    right, naive = bootstrap_mean(repeated, prompts), bootstrap_mean(repeated)
    assert (right.high - right.low) / (naive.high - naive.low) == pytest.approx(3.0, rel=0.12)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_covers_the_true_mean_as_often_as_it_says(method: Literal["percentile", "bca"]) -> None:
    # Exponential with mean 1 is skewed; 95 % nominal at n = 60, 600 repetitions (standard error 0.9 %).
    generator = np.random.default_rng(7)
    hits = 0
    for repetition in range(600):
        sample = generator.exponential(size=60)
        found = bootstrap_mean(sample, num_resamples=300, seed=repetition, method=method)
        hits += found.low <= 1.0 <= found.high
    assert 0.915 <= hits / 600 <= 0.97


def test_percentile_width_is_that_of_the_normal_approximation() -> None:
    # Standard normal, n = 400: half width 1.96 / 20 = 0.098.
    found = bootstrap_mean(np.random.default_rng(3).normal(size=400), method="percentile")
    assert (found.high - found.low) / 2 == pytest.approx(0.098, rel=0.1)


def test_bca_moves_the_ends_by_bias_and_acceleration() -> None:
    """One 10 among four 0: a resample's mean is 2k with k ~ Binomial(5, 1/5): P(k > 2) 0.0579, P(k > 3) 0.0067.

    P(mean < 2) + P(mean = 2) / 2 = 0.3277 + 0.2048, so z0 = 0.0815. Left out one at a time: 2.5 four times and 0, so
    a = (4 (−1/2)^3 + 2^3) / (6 · 5^1.5) = 7.5 / 67.08 = 0.1118. The ends: Φ(0.0815 − 1.8785 / 1.2100) = 0.0706 and
    Φ(0.0815 + 2.0415 / 0.7718) = 0.9968, where k is 0 and 4; the plain 97.5 % has k = 3.
    """
    rows = [0.0, 0.0, 0.0, 0.0, 10.0]
    plain = bootstrap_mean(rows, method="percentile", num_resamples=20_000)
    assert (plain.low, plain.high) == (0.0, 6.0)
    corrected = bootstrap_mean(rows, method="bca", num_resamples=20_000)
    assert (corrected.low, corrected.high) == (0.0, 8.0)
    mirrored = bootstrap_mean([10.0, 10.0, 10.0, 10.0, 0.0], num_resamples=20_000)
    assert (mirrored.low, mirrored.high) == (2.0, 10.0)
    assert bootstrap_mean(rows, num_resamples=20_000) == corrected


def test_equal_seeds_give_equal_intervals() -> None:
    rows = np.random.default_rng(4).normal(size=50)
    assert bootstrap_mean(rows, seed=5) == bootstrap_mean(rows, seed=5)
    assert bootstrap_mean(rows, seed=5) != bootstrap_mean(rows, seed=6)


def test_pairing_removes_what_prompts_share() -> None:
    # b = a + 1/2 + small noise while a itself has spread 10: unpaired this could not be seen.
    generator = np.random.default_rng(5)
    a = generator.normal(scale=10, size=80)
    b = a + 0.5 + generator.normal(scale=0.1, size=80)
    found = paired_difference(a, b)
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert found.excludes_zero
    assert found.high - found.low < 0.06


def test_difference_is_second_minus_first_over_prompts_both_have() -> None:
    found = paired_difference([1.0, math.nan, 3.0, 0.0], [2.0, 100.0, 6.0, 2.0])
    assert found.value == pytest.approx((1 + 3 + 2) / 3)
    assert found.num == 3


def test_weights_make_a_mean_per_token() -> None:
    # 3 nats over 1 token and 1 nat over 3 tokens: 4 nats over 4 tokens, not (3 + 1/3) / 2.
    assert bootstrap_mean([3.0, 1.0], weights=[1, 3]).value == pytest.approx(1.0)


def test_no_variation_is_said_and_not_shown_as_certainty() -> None:
    found = bootstrap_mean([2.0] * 10)
    assert (found.value, found.note, found.num) == (2.0, "no variation", 10)
    assert not found.defined
    assert found.to_json()["low"] is None
    assert bootstrap_mean([2.0] * 6, list("ppqrrr")).note == "no variation"
    assert bootstrap_mean([2.0]).note == "fewer than two prompts"
    assert paired_difference([1.0, 2.0], [2.0, 3.0]).note == "no variation"


@pytest.mark.parametrize(
    ("first", "apart", "note"),
    [(1e6, 1e-7, "no variation"), (1e6, 1e-5, ""), (1e-3, 5e-13, "no variation"), (1e-3, 5e-12, "")],
)
def test_differences_within_rounding_are_no_variation(first: float, apart: float, note: str) -> None:
    """A millionth of a millionth of the largest, at least of 1, may be rounding."""
    assert bootstrap_mean([first, first + apart]).note == note


def test_wilson_by_hand() -> None:
    # p = 1/2, n = 4, z = 1.959964: centre 1/2, half = z sqrt(1/16 + z^2/64) / (1 + z^2/4).
    z = 1.959964
    half = z * math.sqrt(1 / 16 + z * z / 64) / (1 + z * z / 4)
    assert wilson(0.5, 4) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    # No success in n: high = z^2 / (n + z^2), about 3.84 / (n + 3.84).
    none = proportion([0] * 96)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(z * z / (96 + z * z), abs=1e-6)


def test_a_proportion_over_identical_repeats_knows_only_its_prompts() -> None:
    # Five prompts, four identical rows each: the design effect is 4 · 5/4, so n is at most 5.
    rows, prompts = [1.0] * 4 + [0.0] * 16, np.repeat(np.arange(5), 4).tolist()
    found = proportion(rows, prompts)
    assert found.value == pytest.approx(0.2)
    low, high = wilson(0.2, 5 * 4 / 5)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    # Of 0, 0, 3, 3 with one left out: 2, 2, 1, 1; SE = sqrt(3/4 · 4 · 1/4) = sqrt(3)/2 = s/sqrt(n).
    found = jackknife(1.5, [2.0, 2.0, 1.0, 1.0])
    assert found.high - 1.5 == pytest.approx(1.959964 * math.sqrt(3) / 2, abs=1e-6)


def test_sentences_say_found_not_found_and_undefined() -> None:
    assert sentence(Interval(0.5, 0.1, 0.9, 40), "gold") == "gold is 0.50 higher (95 % interval 0.10 to 0.90, n = 40)"
    # Width 0.2: standard error 0.1 / 1.96, times 1.96 + 0.8416 = 0.1429.
    text = sentence(Interval(0.0, -0.1, 0.1, 40), "gold")
    assert text == "gold: no difference found (could have seen 0.14; 95 % interval -0.10 to 0.10, n = 40)"
    assert "no variation" in sentence(bootstrap_mean([1.0, 1.0]), "gold")


def test_frontier_orders_by_distance_and_takes_the_root() -> None:
    far = {"kl/exact": Interval(4.0, 1.0, 9.0, 10), "judge/gold": Interval(1.0, 0.0, 2.0, 10)}
    near = {"kl/exact": Interval(-0.01, -0.02, 0.25, 10), "judge/gold": Interval(0.0, -1.0, 1.0, 10)}
    points = frontier({"far": far, "near": near, "unknown": {}}, ["judge/gold", "reward/rm"])
    assert [point.model for point in points] == ["near", "far"]
    assert (points[0].distance.value, points[0].distance.high) == (0.0, 0.5)
    assert (points[1].distance.low, points[1].distance.value, points[1].distance.high) == (1.0, 2.0, 3.0)
    assert list(points[1].worth) == ["judge/gold"]


def test_frontier_keeps_ends_that_are_not_defined() -> None:
    unknown = {"kl/exact": Interval(4.0, math.nan, math.nan, 1, "fewer than two prompts")}
    distance = frontier({"one": unknown}, [])[0].distance
    assert distance.value == 2.0
    assert math.isnan(distance.low)
    assert math.isnan(distance.high)
    assert (distance.num, distance.note) == (1, "fewer than two prompts")


def test_defaults_are_95_per_cent_by_2000_resamples_and_bca() -> None:
    generator = np.random.default_rng(8)
    one, other = generator.exponential(size=30), generator.exponential(size=30)
    said = {"level": 0.95, "num_resamples": 2000, "seed": 0, "method": "bca"}
    assert bootstrap_mean(one) == bootstrap_mean(one, **said)  # type: ignore[arg-type]
    assert paired_difference(one, other) == paired_difference(one, other, **said)  # type: ignore[arg-type]
    for name, value in {"level": 0.9, "num_resamples": 500, "seed": 1, "method": "percentile"}.items():
        assert bootstrap_mean(one, **{name: value}) != bootstrap_mean(one)  # type: ignore[arg-type]
        assert paired_difference(one, other, **{name: value}) != paired_difference(one, other)  # type: ignore[arg-type]
    # 1 of 4 at 90 %: z = 1.644854; the variance between prompts, by n − 1, makes 3 of the 4.
    z = 1.644854
    centre, scale = 1 / 4 + z * z / 6, 1 + z * z / 3
    half = z * math.sqrt(1 / 16 + z * z / 36)
    ninety = proportion([1, 0, 0, 0], level=0.9)
    assert (ninety.low, ninety.high) == pytest.approx(((centre - half) / scale, (centre + half) / scale), abs=1e-6)
    # SE 1, from two values 1 apart from their mean: (1/2) (1 + 1) = 1.
    assert jackknife(0.0, [-1.0, 1.0], level=0.9).high == pytest.approx(z, abs=1e-6)
    assert jackknife(0.0, [-1.0, 1.0]).low == pytest.approx(-1.959964, abs=1e-6)


def test_a_paired_difference_weighs_each_side_by_its_tokens() -> None:
    # 4 nats over 2 tokens and 8 over 4: 12 / 6 = 2. 3 over 1 and 3 over 1: 3.
    found = paired_difference([4.0, 8.0], [3.0, 3.0], weights=([2, 4], [1, 1]))
    assert found.value == pytest.approx(1.0)
    # A prompt whose weight is 0 on one side is left out of both: 8 / 4 = 2 against 5.
    found = paired_difference([0.0, 8.0], [3.0, 5.0], weights=([0, 4], [1, 1]))
    assert (found.value, found.num) == (3.0, 1)


def test_prompts_without_a_value_keep_their_place() -> None:
    # The last prompt has no value on one side, nor the first on the other: only q is compared.
    found = paired_difference([1.0, 2.0, math.nan], [math.nan, 5.0, 7.0], ["p", "q", "r"])
    assert (found.value, found.num) == (3.0, 1)
    # Two rows of p of which one has no value: p's mean is 4, q's 2.
    assert bootstrap_mean([4.0, math.nan, 2.0], ["p", "p", "q"]).value == pytest.approx(3.0)
    assert bootstrap_mean([4.0, math.nan, 2.0], ["p", "p", "q"]).num == 2


def test_without_rows_there_is_nothing() -> None:
    for found in (bootstrap_mean([]), bootstrap_mean([math.nan]), proportion([]), paired_difference([1.0], [math.nan])):
        assert math.isnan(found.value)
        assert (found.num, found.note, found.defined) == (0, "fewer than two prompts", False)
    assert jackknife(1.0, [1.0]).note == "fewer than two prompts"
    assert jackknife(1.0, [1.0]).num == 1
    assert jackknife(1.0, [2.0, 2.0, 2.0]).note == "no variation"
    assert bootstrap_mean([2.0]).num == 1


def test_what_is_resampled_in_pieces_is_resampled_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(4).normal(size=50)
    whole = bootstrap_mean(rows, num_resamples=101)
    monkeypatch.setattr("preflab.evaluation.statistics.CHUNK", 500)
    pieces = bootstrap_mean(rows, num_resamples=101)
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high))


@pytest.mark.parametrize("cells", [4_000_000, 30])
def test_every_resample_draws_as_many_prompts_as_there_are(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preflab.evaluation.statistics.CHUNK", cells)
    drawn = np.concatenate(list(resample_counts(3, 101, seed=0)))
    assert drawn.shape == (101, 3)
    assert set(drawn.sum(axis=1)) == {3.0}


def test_rows_without_a_value_add_nothing_to_their_prompt() -> None:
    for clusters, sums, totals in ((None, [0, 2, 3], [0, 1, 1]), (["p", "q", "q"], [0, 5], [0, 2])):
        found = cluster_totals([math.nan, 2, 3], None, clusters)
        assert (found[0].tolist(), found[1].tolist()) == (sums, totals)


def test_an_interval_at_zero_finds_nothing() -> None:
    assert not Interval(0.5, 0.0, 1.0, 9).excludes_zero
    assert not Interval(-0.5, -1.0, 0.0, 9).excludes_zero
    assert Interval(-0.5, -1.0, -0.1, 9).excludes_zero
    assert not Interval(0.5, math.nan, 1.0, 9).defined
    assert not Interval(0.5, 0.0, math.nan, 9).defined
    assert sentence(Interval(-0.5, -0.9, -0.1, 4), "gold").startswith("gold is 0.50 lower")
    assert "undefined" in sentence(Interval(0.5, math.nan, math.nan, 1), "gold")


def test_a_proportion_of_unlike_prompts_has_the_n_of_its_design_effect() -> None:
    # Prompt p: 2 of 2, q: 0 of 2, r: 1 of 2. Share 1/2 of 6, binomial variance 1/24; between prompts
    # (1 + 1 + 0) / 36 · 3/2 = 1/12: design effect 2, so n is 3.
    found = proportion([1, 1, 0, 0, 1, 0], ["p", "p", "q", "q", "r", "r"])
    assert (found.low, found.high) == pytest.approx(wilson(0.5, 3))
    # Prompts that are more alike than chance: the effect is at least 1, n is 4.
    found = proportion([1, 0, 0, 1], ["p", "p", "q", "q"])
    assert (found.low, found.high) == pytest.approx(wilson(0.5, 4))
    assert found.num == 2
    # All succeed: n is the number of prompts, 2.
    found = proportion([1, 1, 1, 1], ["p", "p", "q", "q"])
    assert (found.low, found.high) == (pytest.approx(wilson(1.0, 2)[0]), 1.0)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_are_those_of_the_draws_written_out(method: Literal["percentile", "bca"]) -> None:
    """Fifteen prompts of one to three rows; Efron's z0 and a, and the quantiles of 2000 resamples."""
    generator = np.random.default_rng(9)
    prompts = [i for i in range(15) for _ in range(1 + i % 3)]
    rows = generator.exponential(size=len(prompts))
    sums = np.array([sum(row for row, prompt in zip(rows, prompts, strict=True) if prompt == i) for i in range(15)])
    sizes = np.array([1.0 + i % 3 for i in range(15)])
    times = np.random.default_rng(3).multinomial(15, [1 / 15] * 15, size=2000)
    draws = (times @ sums) / (times @ sizes)
    shares = np.array([0.025, 0.975])
    if method == "bca":
        left_out = np.array([(sums.sum() - sums[i]) / (sizes.sum() - sizes[i]) for i in range(15)])
        apart = left_out.mean() - left_out
        bias, speed = norm.ppf((draws < rows.mean()).mean()), (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
        z = bias + norm.ppf(shares)
        shares = norm.cdf(bias + z / (1 - speed * z))
    found = bootstrap_mean(rows, prompts, seed=3, method=method)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, shares)), abs=1e-9)


def test_proportion_of_one_prompt_and_beside_prompts_without_a_row() -> None:
    one = proportion([1, 0], ["p", "p"])
    assert (one.low, one.high) == pytest.approx(wilson(0.5, 2))
    assert one.num == 1
    rows, prompts = [1, 1, 0, 0, 1, 0], ["p", "p", "q", "q", "r", "r"]
    assert proportion([*rows, math.nan], [*prompts, "s"]) == proportion(rows, prompts)


def test_jackknife_of_one_prompt_is_its_value() -> None:
    found = jackknife(3.0, [1.0])
    assert (found.value, found.num) == (3.0, 1)


@pytest.mark.parametrize(("draw", "side"), [(0.0, 7 / 8), (9.0, 1 / 8)])
def test_bca_bias_of_draws_on_one_side_counts_half_a_draw(draw: float, side: float) -> None:
    """Four draws, all below 5 or all above it: z0 = Φ⁻¹ of 1 ∓ 1/8. Without skew the median moves to Φ(2 z0)."""
    shares = _bca_shares(np.array([0.5]), 5.0, np.full(4, draw), np.array([-1.0, 1.0]))
    assert shares.tolist() == pytest.approx([norm.cdf(2 * norm.ppf(side))])
