"""The metrics of a step on rollouts, counted by hand: in one process, and in one of two with the same rollouts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from paper_trunk import PaperAccelerator
from preflab.policy.step_statistics import (
    LearningBatch,
    add_statistics,
    group_statistics,
    mismatch_statistics,
    reduced,
    rollout_statistics,
    step_statistics,
)
from preflab.records import Prompt
from preflab.training.processes import make_accelerator
from preflab.training.protocols import SampledCompletion
from preflab.training.rollouts import Rollouts

MASK = torch.tensor([[True, True, True, True], [True, True, True, False], [True, False, False, False]])
SCORES = torch.tensor([3.0, -1.0, 4.0])


def accelerators() -> list[Any]:
    """One process, and the second of two."""
    return [make_accelerator(cpu=True), PaperAccelerator(1)]


def three_rollouts() -> Rollouts:
    """Completions of 4, 3 and 1 tokens, the second cut; 9 wherever there is no token."""
    sampled = [
        SampledCompletion((5, 5, 5, 5), (-1.0, -1.0, -1.0, -1.0), "stop"),
        SampledCompletion((1, 2, 3), (-2.0, -2.0, -2.0), "length"),
        SampledCompletion((7,), (-3.0,), "stop"),
    ]
    made = Rollouts.start([Prompt.make(text="a")] * 3, [(3,)] * 3, sampled, ["a"] * 3)
    made.ref_logps = torch.tensor([[-1.5, -1.0, -1.0, -1.25], [-2.0, -1.0, -2.0, 9.0], [-3.5, 9.0, 9.0, 9.0]])
    made.exact_kl = torch.tensor([[1.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.5, 0.0], [0.5, 0.0, 0.0, 0.0]])
    made.values = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 9.0], [1.0, 9.0, 9.0, 9.0]])
    made.trainer_logps = made.sampler_logps.clone()
    return made


def learning_batch() -> LearningBatch:
    """Raw advantages 2, 0, 2, 0 | 1, 1, 1 | −3 (sum 4, squares 20 over 8 tokens); returns 1 above or at the values."""
    raw = torch.tensor([[2.0, 0.0, 2.0, 0.0], [1.0, 1.0, 1.0, 9.0], [-3.0, 9.0, 9.0, 9.0]])
    returns = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 9.0], [3.0, 9.0, 9.0, 9.0]])
    return LearningBatch(torch.full((3, 4), 7.0), returns, raw, 1.0)


@pytest.mark.parametrize(("place", "num_tokens"), [(0, 8.0), (1, 16.0)])
def test_rollout_metrics_by_hand(place: int, num_tokens: float) -> None:
    """Scores 3, −1, 4: mean 2, squares 26/3 − 4 = 14/3.

    Log-ratios ½ and ¼ of the first completion, −1 of the second, ½ of the third sum to ¾, −1 and ½. Of the 3-grams of
    5555 half repeat, of those of 123 none. Residuals 1, 0, 1, 0 | 0, 0, 0 | 2: mean ½, variance 6/8 − 1/4 = ½; returns
    1, 1, 1, 1 | 0, 0, 0 | 3: mean 7/8, variance 13/8 − 49/64 = 55/64.
    """
    terms = {"a": torch.tensor([1.0, 0.0, 2.5])}
    statistics = rollout_statistics(accelerators()[place], three_rollouts(), learning_batch(), SCORES, terms)
    assert statistics == pytest.approx({
        "reward/mean": 2, "reward/std": math.sqrt(14 / 3), "reward/a": 3.5 / 3, "kl/exact": 3.5 / 3, "kl/k1": 0.25 / 3,
        "length/mean": 8 / 3, "length/eos_rate": 2 / 3, "advantage/mean": 0.5, "advantage/std": 1.5,
        "repeat/share": 0.25, "num/tokens": num_tokens, "value/explained_variance": 1 - 32 / 55,
        "mismatch/logps": float(place), "mismatch/logps_mean": 0, "mismatch/kl": 0,
    })  # fmt: skip


class OneMore(PaperAccelerator):
    """The other process adds 1 to every sum."""

    def reduce(self, values: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        return values + 1


def test_explained_variance_is_that_of_all_processes() -> None:
    """Residuals 9 in count, 5, 7: 7/9 − 25/81 = 38/81; returns 9, 8, 14: 14/9 − 64/81 = 62/81."""
    accelerator: Any = OneMore()
    statistics = rollout_statistics(accelerator, three_rollouts(), learning_batch(), SCORES, {})
    assert statistics["value/explained_variance"] == pytest.approx(1 - 38 / 62)
    assert statistics["repeat/share"] == pytest.approx(1.5 / 3)
    assert statistics["num/tokens"] == 9


def test_rollouts_too_short_to_repeat_have_no_share_of_repeats() -> None:
    sampled = [SampledCompletion((5, 5), (-1.0, -1.0), "stop")] * 2
    made = Rollouts.start([Prompt.make(text="a")] * 2, [(3,)] * 2, sampled, ["a"] * 2)
    batch = LearningBatch(made.values, made.values, made.values, 1.0)
    statistics = rollout_statistics(accelerators()[0], made, batch, torch.tensor([1.0, 1.0]), {})
    assert statistics["repeat/share"] == 0
    assert statistics["reward/std"] == 0


@pytest.mark.parametrize("place", [0, 1])
def test_group_metrics_by_hand(place: int) -> None:
    """Rewards 3, 3 | 1, 4 | 0, −2: one group of three is equal; deviations 0, 3/√2 and 2/√2. No values, no critic."""
    sampled = [SampledCompletion((5,), (-1.0,), "stop")] * 6
    made = Rollouts.start([Prompt.make(text="a")] * 6, [(3,)] * 6, sampled, ["a"] * 6)
    scores = torch.tensor([3.0, 3.0, 1.0, 4.0, 0.0, -2.0])
    gained = torch.tensor([[0.0], [0.0], [-1.5], [1.5], [1.0], [-1.0]])
    statistics = group_statistics(accelerators()[place], made, gained, scores, {}, 2)
    assert statistics["group/no_spread"] == pytest.approx(1 / 3)
    assert statistics["group/std"] == pytest.approx(5 / math.sqrt(2) / 3)
    assert statistics["reward/mean"] == pytest.approx(1.5)
    assert statistics["advantage/std"] == pytest.approx(math.sqrt(6.5 / 6))
    assert not any(name.startswith("value/") for name in statistics)


@pytest.mark.parametrize(("difference", "kl"), [(30.0, math.exp(-20) - 1 + 20), (-30.0, math.exp(20) - 1 - 20)])
def test_mismatch_beyond_20_nats_counts_as_20_in_the_kl(difference: float, kl: float) -> None:
    sampled = [SampledCompletion((5,), (-1.0,), "stop")]
    made = Rollouts.start([Prompt.make(text="a")], [(3,)], sampled, ["a"])
    made.trainer_logps = torch.tensor([[-1 - difference]])
    statistics = mismatch_statistics(accelerators()[0], made)
    assert statistics == pytest.approx({"mismatch/logps": 30, "mismatch/logps_mean": 30, "mismatch/kl": kl})


def test_statistics_of_all_processes_are_sums_but_for_the_largest_ratio_and_the_norm() -> None:
    sums = {"loss/policy": 1.5, "ratio/max_deviation": 0.25, "entropy/mean": 0.5, "grad/norm": 3.0}
    one, two = accelerators()
    assert reduced(one, sums) is sums
    assert reduced(two, sums) == {
        "loss/policy": 3.0, "ratio/max_deviation": 1.25, "entropy/mean": 1.0, "grad/norm": 3.0
    }  # fmt: skip
    assert reduced(two, {"loss/value": 2.0, "grad/norm": 1.0}) == {"loss/value": 4.0, "grad/norm": 1.0}


def test_statistics_below_zero_add_up_and_a_warm_up_has_no_ratio() -> None:
    sums: dict[str, float] = {}
    for values in ({"loss/policy": -1.0, "ratio/max_deviation": 0.5}, {"loss/policy": -2.0, "ratio/max_deviation": 1}):
        add_statistics(sums, values)
    assert sums == {"loss/policy": -3.0, "ratio/max_deviation": 1}
    assert step_statistics([{"loss/value": 3.0}, {"loss/value": 1.0}]) == {"loss/value": 2.0, "num/updates": 2}
