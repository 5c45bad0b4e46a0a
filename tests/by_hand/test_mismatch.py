"""How far sampler and trainer are apart, and whose log-probabilities π_old is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from preflab.policy.step_statistics import mismatch_statistics
from preflab.training.processes import make_accelerator
from preflab.training.protocols import SampledCompletion
from preflab.training.rollouts import Rollouts


def rollouts(sampler: list[list[float]], trainer: list[list[float]]) -> Rollouts:
    """Completions of these lengths with what the sampler said; the trainer said the other."""
    sampled = [SampledCompletion(tuple(range(len(row))), tuple(row), "stop") for row in sampler]
    made = Rollouts.start([Any] * len(sampled), [(3,)] * len(sampled), sampled, ["a"] * len(sampled))  # type: ignore[list-item]
    for row, values in enumerate(trainer):
        made.trainer_logps[row, : len(values)] = torch.tensor(values)
    return made


def test_mismatch_is_largest_mean_and_kl_over_the_tokens() -> None:
    """Sampler − trainer: ln 2, 0 and −ln 2. k3: ½ − 1 + ln 2, 0 and 2 − 1 − ln 2, which sum to ½."""
    ln2 = math.log(2)
    found = rollouts([[-1.0, -2], [-3]], [[-1 - ln2, -2], [-3 + ln2]])
    found.trainer_logps[1, 1] = math.nan  # no token of a completion
    assert mismatch_statistics(make_accelerator(cpu=True), found) == pytest.approx(
        {"mismatch/logps": ln2, "mismatch/logps_mean": 2 * ln2 / 3, "mismatch/kl": 1 / 6}
    )


def test_old_policy_is_the_samplers_until_the_trainers_is_taken() -> None:
    found = rollouts([[-1.0, -2]], [[-1.5, -2.5]])
    assert found.old_logps.tolist() == [[-1, -2]]
    found.take_trainers_logps()
    assert found.old_logps.tolist() == [[-1.5, -2.5]]
    assert found.sampler_logps.tolist() == [[-1, -2]]


def test_states_of_rows_follow_the_rows_and_are_none_where_one_is_missing() -> None:
    made = rollouts([[-1.0, -2], [-3], [-4]], [])
    made.states = [torch.tensor([[1.0], [2.0]]), None, torch.tensor([[3.0]])]
    found = made.states_of([2, 0])
    assert found is not None
    assert found.tolist() == [[3.0], [1.0], [2.0]]
    assert made.states_of([0, 1]) is None
    assert (len(made), made.num_tokens, made.lengths) == (3, 4, [3, 2, 2])
