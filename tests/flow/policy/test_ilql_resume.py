"""A run of implicit language Q-learning that is cut off, split otherwise or shared by two processes is the same run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ilql_world import tiny_ilql
from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.trunk import Trunk
from preflab.policy.ilql import train_ilql
from preflab.settings.learning import LoraSettings
from preflab.training.metrics import is_time
from two_processes import call_in_two_processes

LORA = LoraSettings(rank=2, alpha=4)
DATA = torch.tensor([[1, 2, 0, 1], [0, 1, 1, 0], [2, 1, 0, 1], [1, 1, 1, 2]], dtype=torch.float64)


def trained(folder: Path, lora: LoraSettings | None, num_steps: int, **changes: Any) -> Trunk:
    """A run of 15 completions, 4 in a step."""
    optimiser = {"learning_rate": 1e-2, "schedule": "constant", **changes.pop("optimiser", {})}
    run = tiny_ilql(folder, DATA, lora, num_steps=num_steps, num_completions_per_step=4, optimiser=optimiser, **changes)
    train_ilql(run)
    return run.trunk


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not is_time(k)} for row in read_jsonl(folder / "metrics.jsonl")]


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_n_restart_n_is_2n(lora: LoraSettings | None, tmp_path: Path) -> None:
    """The target copy and the heads are restored too."""
    whole = trained(tmp_path / "whole", lora, 6)
    trained(tmp_path / "cut", lora, 3)
    resumed = trained(tmp_path / "cut", lora, 6)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "cut")
    head = whole.state_dict()
    assert head["heads.q.target_weight"].abs().max() > 0
    assert not torch.equal(head["heads.q.target_weight"], head["heads.q.tokens.weight"] + head["heads.q.common.weight"])


def test_fewer_steps_than_are_done_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, LORA, 3)
    with pytest.raises(PreflabError, match="3 steps are done, and num_steps is 2"):
        trained(tmp_path, LORA, 2)


def test_the_split_into_micro_batches_changes_nothing(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", None, 3)
    split = trained(tmp_path / "split", None, 3, optimiser={"tokens_per_micro_batch": 8})
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(split.state_dict()[name], tensor, atol=2e-5, rtol=1e-4)


def test_the_reference_is_not_trained(tmp_path: Path) -> None:
    """Only the value role and both heads move."""
    before, after = tiny_ilql(tmp_path / "before", DATA).trunk.state_dict(), trained(tmp_path, None, 3).state_dict()
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"value", "q"}


def train_and_save(folder: Path) -> None:
    """Train in this process, and save the weights in the main one."""
    trunk = trained(folder, None, 3, optimiser={"tokens_per_micro_batch": 8})
    if os.environ["RANK"] == "0":
        torch.save(trunk.state_dict(), folder / "weights.pt")


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", None, 3, optimiser={"tokens_per_micro_batch": 8})
    (tmp_path / "two").mkdir()
    call_in_two_processes("flow.policy.test_ilql_resume:train_and_save", tmp_path / "two")
    saved = torch.load(tmp_path / "two" / "weights.pt")
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(saved[name], tensor, atol=2e-5, rtol=1e-4)
    assert [row["loss/total"] for row in rows_of(tmp_path / "two")] == pytest.approx(
        [row["loss/total"] for row in rows_of(tmp_path / "one")], rel=1e-4
    )
