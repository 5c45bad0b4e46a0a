"""Runs on groups of completions that are cut off and started again are the runs that were not, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.trunk import Trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.settings.learning import LoraSettings
from preflab.training.metrics import is_time
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import files_of, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)
Train = Callable[[Path, LoraSettings | None, int], Trunk]


def reward(ids: tuple[int, ...]) -> float:
    """Likes token 1."""
    return float(ids.count(1))


def grpo(folder: Path, lora: LoraSettings | None, num_steps: int) -> Trunk:
    trunk = tiny_trunk(("policy", "reference"), lora=lora)
    adaptive = {"kl_target": 1.0, "kl_horizon": 50, "num_epochs": 2, "num_minibatches": 2}
    train_grpo(tiny_grpo(folder, trunk, reward, num_steps=num_steps, **adaptive))
    return trunk


def dapo(folder: Path, lora: LoraSettings | None, num_steps: int) -> Trunk:
    trunk = tiny_trunk(("policy", "reference"), lora=lora)
    train_grpo(tiny_grpo(folder, trunk, reward, num_steps=num_steps, algorithm="dapo", kl_coef=0.0, num_resamples=2))
    return trunk


def online(folder: Path, lora: LoraSettings | None, num_steps: int) -> Trunk:
    trunk = tiny_trunk(("policy", "reference"), lora=lora)
    train_online_dpo(tiny_online_dpo(folder, trunk, reward, num_steps=num_steps, labels="drawn", num_minibatches=2))
    return trunk


def without_times(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not is_time(k)} for row in read_jsonl(folder / "metrics.jsonl")]


@pytest.mark.parametrize("train", [grpo, dapo, online])
@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_n_restart_n_is_2n(train: Train, lora: LoraSettings | None, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", lora, 6)
    train(tmp_path / "cut", lora, 3)
    resumed = train(tmp_path / "cut", lora, 6)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert without_times(tmp_path / "whole") == without_times(tmp_path / "cut")
    assert files_of(tmp_path / "whole" / "rollouts") == files_of(tmp_path / "cut" / "rollouts")
    untrained = tiny_trunk(("policy", "reference"), lora=lora).state_dict()
    assert any(not torch.equal(tensor, untrained[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize("train", [grpo, online])
def test_fewer_steps_than_are_done_is_refused(train: Train, tmp_path: Path) -> None:
    train(tmp_path, LORA, 3)
    with pytest.raises(PreflabError, match="3 steps are done, and num_steps is 2"):
        train(tmp_path, LORA, 2)
