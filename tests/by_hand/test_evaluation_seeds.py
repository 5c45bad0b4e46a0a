"""Differences over training seeds, and how they are corrected beside single models, worked out on paper."""

from __future__ import annotations

import math

import pytest

from preflab.evaluation.over_seeds import ALL_ALIKE, over_seeds, seed_verdicts
from preflab.statistics.interval import NOTHING, Interval

T2 = 4.302653
"""97.5 % quantile of Student's t with two degrees of freedom."""


def over_prompts(value: float, half: float, p: float = 0.01) -> Interval:
    return Interval(value, value - half, value + half, 200, p=p)


SEEDS = [over_prompts(value, 0.5) for value in (-2.0, -3.0, -4.0)]


def test_interval_is_students_over_the_seeds() -> None:
    # Mean −3, squares 1 + 0 + 1, s² = 2 / 2 = 1, error 1 / √3. t = 3 √3; with two degrees of freedom
    # P(|T| > t) = 1 − t / √(t² + 2) = 1 − √(27 / 29).
    found = over_seeds([{"above/hate": one} for one in SEEDS])["above/hate"]
    half = T2 / math.sqrt(3)
    assert (found.value, found.low, found.high) == pytest.approx((-3.0, -3 - half, -3 + half), abs=1e-6)
    assert found.num == 3
    assert found.p == pytest.approx(1 - math.sqrt(27 / 29))


def test_two_seeds_have_a_wide_interval() -> None:
    # 1 and 2: mean 1.5, s² = 0.5, error 0.5, t of one degree of freedom 12.706205.
    found = over_seeds([{"kl/exact": over_prompts(value, 0.1)} for value in (1.0, 2.0)])["kl/exact"]
    assert (found.low, found.high) == pytest.approx((1.5 - 6.3531024, 1.5 + 6.3531024), abs=1e-6)


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


def test_found_seeds_are_counted_by_direction() -> None:
    (entry,) = seed_verdicts(COMPARED, STAGES, "judge/gold", baseline="sft").over_seeds
    assert (entry["model"], entry["baseline"], entry["seeds"]) == ("ppo", "sft", list(STAGES["ppo"]))
    difference = entry["differences"]["judge/gold"]
    assert (difference["num_higher"], difference["num_lower"]) == (1, 1)
    assert difference["value"] == pytest.approx(0.4)


def test_a_stage_counts_once_and_its_seeds_are_no_family() -> None:
    found = seed_verdicts(COMPARED, STAGES, "judge/gold", baseline="sft")
    corrected = {name: measures["judge/gold"]["p_holm"] for name, measures in found.models.items()}
    # dpo is tested beside ppo over seeds (p far above 0.02): 2 · 0.02. Seed 0 beside dpo: max(2 · 0.02, 0.03);
    # seed 1 beside dpo: 0.4 is the larger; seed 2 beside dpo: 2 · 0.01.
    assert corrected == pytest.approx({"dpo": 0.04, "ppo/seed-0": 0.04, "ppo/seed-1": 0.4, "ppo/seed-2": 0.02})
    assert list(found.models) == list(COMPARED)


def test_without_seeds_the_verdicts_are_those_of_the_models() -> None:
    found = seed_verdicts({"dpo": COMPARED["dpo"]}, {}, "judge/gold", baseline="sft")
    assert found.over_seeds == []
    assert found.models["dpo"]["judge/gold"]["p_holm"] == 0.02
