"""Differences over training seeds, and how they are corrected beside single models, worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preflab.evaluation.mean_of_seeds import mean_differences
from preflab.evaluation.over_seeds import ALL_ALIKE, NOT_OVER_PROMPTS, over_seeds, seed_verdicts
from preflab.evaluation.paired import Sheet, differences
from preflab.statistics.interval import NOTHING, Interval
from preflab.statistics.means import paired_difference
from preflab.words import difference_text, is_found

T2 = 4.302653
"""97.5 % quantile of Student's t with two degrees of freedom."""


def over_prompts(value: float, half: float, p: float = 0.01) -> Interval:
    return Interval(value, value - half, value + half, 200, p=p)


SEEDS = [over_prompts(value, 0.5) for value in (-2.0, -3.0, -4.0)]


def test_interval_is_students_over_the_seeds() -> None:
    # Mean −3, squares 1 + 0 + 1, s² = 2 / 2 = 1, error 1 / √3. t = 3 √3; with two degrees of freedom
    # P(|T| > t) = 1 − t / √(t² + 2) = 1 − √(27 / 29).
    interval = over_seeds([{"above/hate": one} for one in SEEDS])["above/hate"]
    half = T2 / math.sqrt(3)
    assert (interval.value, interval.low, interval.high) == pytest.approx((-3.0, -3 - half, -3 + half), abs=1e-6)
    assert interval.num == 3
    assert interval.p == pytest.approx(1 - math.sqrt(27 / 29))


def test_two_seeds_have_a_wide_interval() -> None:
    # 1 and 2: mean 1.5, s² = 0.5, error 0.5, t of one degree of freedom 12.706205.
    interval = over_seeds([{"kl/exact": over_prompts(value, 0.1)} for value in (1.0, 2.0)])["kl/exact"]
    assert (interval.low, interval.high) == pytest.approx((1.5 - 6.3531024, 1.5 + 6.3531024), abs=1e-6)


def test_without_an_interval_the_note_says_why() -> None:
    alike, missing = [over_prompts(1.0, 0.1)] * 2, [over_prompts(1.0, 0.1), over_prompts(math.nan, 0.1)]
    assert over_seeds([{"a": one} for one in alike])["a"].note == ALL_ALIKE
    assert over_seeds([{"a": one} for one in missing])["a"].note == NOTHING
    assert list(over_seeds([{"a": alike[0], "b": alike[0]}, {"a": alike[0]}])) == ["a"]


COMPARED = {
    "dpo": {"judge/gold": over_prompts(1.0, 0.5, p=0.02)},
    "ppo/seed-0": {"judge/gold": over_prompts(1.0, 0.5, p=0.03)},
    "ppo/seed-1": {"judge/gold": over_prompts(1.4, 2.0, p=0.4)},
    "ppo/seed-2": {"judge/gold": over_prompts(-1.2, 0.5, p=0.01)},
}
STAGES = {"ppo": ("ppo/seed-0", "ppo/seed-1", "ppo/seed-2")}
MEANS = {"ppo": {"judge/gold": over_prompts(0.4, 0.3, p=0.01)}}


def test_found_seeds_are_counted_by_direction() -> None:
    (entry,) = seed_verdicts(COMPARED, STAGES, MEANS, "judge/gold", baseline="sft").over_seeds
    assert (entry["model"], entry["baseline"], entry["seeds"]) == ("ppo", "sft", list(STAGES["ppo"]))
    difference = entry["differences"]["judge/gold"]
    assert (difference["num_higher"], difference["num_lower"]) == (1, 1)
    assert difference["value"] == pytest.approx(0.4)


def test_more_seeds_found_above_than_below_are_not_exchanged() -> None:
    values = ((0, 1.0, 0.5), (1, 1.4, 0.5), (2, -1.2, 0.5), (3, 0.2, 0.5), (4, -0.2, 0.5))
    compared = {f"ppo/seed-{seed}": {"judge/gold": over_prompts(value, half)} for seed, value, half in values}
    (entry,) = seed_verdicts(compared, {"ppo": tuple(compared)}, MEANS, "judge/gold", baseline="sft").over_seeds
    difference = entry["differences"]["judge/gold"]
    assert (difference["num_higher"], difference["num_lower"]) == (2, 1)


def test_a_stage_counts_once_and_its_seeds_are_no_family() -> None:
    verdicts = seed_verdicts(COMPARED, STAGES, MEANS, "judge/gold", baseline="sft")
    corrected = {name: measures["judge/gold"]["p_holm"] for name, measures in verdicts.models.items()}
    # dpo is tested beside ppo over seeds (p far above 0.02): 2 · 0.02. Seed 0 beside dpo: max(2 · 0.02, 0.03);
    # seed 1 beside dpo: 0.4 is the larger; seed 2 beside dpo: 2 · 0.01.
    assert corrected == pytest.approx({"dpo": 0.04, "ppo/seed-0": 0.04, "ppo/seed-1": 0.4, "ppo/seed-2": 0.02})
    assert list(verdicts.models) == list(COMPARED)


def test_without_seeds_the_verdicts_are_those_of_the_models() -> None:
    verdicts = seed_verdicts({"dpo": COMPARED["dpo"]}, {}, {}, "judge/gold", baseline="sft")
    assert verdicts.over_seeds == []
    assert verdicts.models["dpo"]["judge/gold"]["p_holm"] == 0.02


ALIKE = {f"ppo/seed-{seed}": {"judge/gold": over_prompts(value, 0.5, p=0.3)} for seed, value in ((0, 0.20), (1, 0.22))}
DOUBTS = {
    "not over prompts": (over_prompts(0.21, 0.4, p=0.3), NOT_OVER_PROMPTS, 0.3),
    "found over both": (over_prompts(0.21, 0.1, p=0.001), "", 0.0302924),
    "too few prompts": (
        Interval(0.2, math.nan, math.nan, 4, "no interval: too few (n = 4)"),
        "over prompts there is no interval: too few (n = 4)",
        0.0302924,
    ),
}


@pytest.mark.parametrize(("mean", "doubt", "p"), DOUBTS.values(), ids=DOUBTS)
def test_seeds_that_agree_are_not_enough(mean: Interval, doubt: str, p: float) -> None:
    """0.20 and 0.22: error 0.01, t = 21, with one degree of freedom p = 1 - 2/π · arctan 21 = 0.0302924."""
    stages = {"ppo": tuple(ALIKE)}
    verdicts = seed_verdicts(ALIKE, stages, {"ppo": {"judge/gold": mean}}, "judge/gold", baseline="sft")
    difference = verdicts.over_seeds[0]["differences"]["judge/gold"]
    assert difference["low"] == pytest.approx(0.21 - 12.706205 * 0.01)
    assert difference["doubt"] == doubt
    assert difference["p"] == pytest.approx(p, abs=1e-6)
    assert is_found(difference) == (doubt == "")
    assert difference_text(difference) == "0.21 higher" + (f", but {doubt}" if doubt else "")


PROMPTS = tuple("abcdefghij")
BASE = np.array([0.0] * 10)
FIRST, SECOND = np.array([1.0] * 4 + [0.0] * 6), np.array([1.0] * 2 + [0.0] * 8)
TEXTS = tuple(f"{letter} word {letter * (place % 3 + 1)}" for place, letter in enumerate(PROMPTS))


def sheet(name: str, column: np.ndarray, texts: tuple[str, ...] = TEXTS) -> Sheet:
    return Sheet(name, PROMPTS, texts, means={"judge/gold": column + 0.1 * np.arange(10)}, shares={"fail/gold": column})


def test_mean_of_seeds_has_the_interval_of_a_share_over_prompts() -> None:
    # Per prompt, mean of the two seeds − 0: twice 1, twice ½, six times 0. Two prompts are added: mean 3/12,
    # squares (2.5 + 1)/12, variance (3.5/12 − 1/16)/12 = 0.0190972, error 0.138193; t of nine degrees 2.262157.
    interval = mean_differences(sheet("base", BASE), [sheet("0", FIRST), sheet("1", SECOND)])["fail/gold"]
    assert interval.value == pytest.approx(0.3)
    assert (interval.low, interval.high) == (
        pytest.approx(0.25 - 0.312615, abs=1e-5),
        pytest.approx(0.562615, abs=1e-5),
    )
    assert interval.num == 10


def test_mean_of_seeds_is_paired_by_prompt() -> None:
    first, second = sheet("0", FIRST), sheet("1", SECOND)
    interval = mean_differences(sheet("base", BASE), [first, second], seed=3)["judge/gold"]
    mean = (first.means["judge/gold"] + second.means["judge/gold"]) / 2
    expected = paired_difference(sheet("base", BASE).means["judge/gold"], mean, PROMPTS, seed=3)
    assert (interval.value, interval.low, interval.high, interval.p) == pytest.approx(
        (expected.value, expected.low, expected.high, expected.p)
    )


def test_mean_of_equal_seeds_is_one_of_them() -> None:
    base, other = sheet("base", BASE), sheet("0", FIRST, tuple(f"{text} more {text}" for text in TEXTS))
    intervals, expected = mean_differences(base, [other] * 3), differences(base, other)
    assert intervals.keys() == expected.keys()
    for name, interval in expected.items():
        ends = (intervals[name].value, intervals[name].low, intervals[name].high)
        assert ends == pytest.approx((interval.value, interval.low, interval.high), nan_ok=True)


def test_mean_spread_of_seeds_needs_thirty_prompts() -> None:
    """28 scores at 1, 2 and 4 from their mean and the others on it: 3 − 1 times √(28/29) or √(28/30).

    Of 30, without one on the mean √(28/29), without another √(27/29 − 1/29²): two and 28 of the values left out.
    Error² = 29/30 · 2 · 28/30 · (their difference)²; t of 29 degrees is 2.045230.
    """
    for num in (29, 30):
        rows = np.array([1.0, -1.0] * 14 + [0.0] * (num - 28))
        prompts = tuple(str(place) for place in range(num))
        sheets = [Sheet("m", prompts, ("a b",) * num, spreads={"score": scale * rows}) for scale in (1.0, 2.0, 4.0)]
        interval = mean_differences(sheets[0], sheets[1:])["score"]
        assert interval.value == pytest.approx(2 * math.sqrt(28 / num))
        assert interval.note == ("no interval: too few (n = 29)" if num == 29 else "")
    half = 2.045230 * math.sqrt(29 * 56) / 30 * 2 * (math.sqrt(28 / 29) - math.sqrt(27 / 29 - 1 / 29**2))
    assert (interval.low, interval.high) == pytest.approx((interval.value - half, interval.value + half), abs=1e-6)
