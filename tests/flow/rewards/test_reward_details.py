"""What a reward says beside its number reaches the metrics of every loop that learns from rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.files import read_jsonl
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.policy.ppo import train_ppo
from preflab.rewards.combine import Term, WeightedSum
from preflab.rewards.ensemble import Baselines, EnsembleScorer
from preflab.training.protocols import Scores, ScoringItem
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import tiny_ppo, tiny_trunk


class Constant:
    """A reward model that says the same of everything."""

    def __init__(self, score: float) -> None:
        self.value = score

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        return Scores(torch.full((len(items),), self.value))


def two_members() -> WeightedSum:
    """Half of what two reward models agree on that say 1 and 5 of everything, and 0 of reference completions."""
    none = Baselines({}, torch.zeros(2))
    return WeightedSum([Term("both", 0.5, EnsembleScorer([Constant(1.0), Constant(5.0)], none, "minimum"))])


@pytest.mark.parametrize(
    ("run_of", "train"), [(tiny_ppo, train_ppo), (tiny_grpo, train_grpo), (tiny_online_dpo, train_online_dpo)]
)
def test_members_and_spread_of_an_ensemble_are_logged(
    run_of: Callable[..., Any], train: Callable[[Any], object], tmp_path: Path
) -> None:
    run = run_of(tmp_path, tiny_trunk(), lambda ids: 0.0, num_steps=1)
    run.scorer = two_members()
    train(run)
    row = read_jsonl(tmp_path / "metrics.jsonl")[0]
    # Members 1 and 5: mean 3, spread √((2² + 2²) / 2) = 2, minimum 1, of which the sum takes half.
    expected = {
        "reward/mean": 0.5,
        "reward/std": 0.0,
        "reward/both": 0.5,
        "reward/both/member_1": 1.0,
        "reward/both/member_2": 5.0,
        "reward/both/spread": 2.0,
    }
    assert {name: value for name, value in row.items() if name.startswith("reward/")} == pytest.approx(expected)
