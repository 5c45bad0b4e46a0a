"""Kept pairs of DPO runs and reward models: against plain passes, after a restart, and beside the run's own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from accelerate import Accelerator

from flow.policy.test_dpo_loop import dpo_run, policy_and_reference
from preflab.files import read_jsonl
from preflab.models.trunk import Trunk
from preflab.policy.dpo import train_dpo
from preflab.rewards.rankings import LabelledPair, Ranking
from preflab.rewards.train import train_reward_model
from preflab.settings.learning import LoraSettings, OptimiserSettings, RewardSettings
from preflab.training.batches import TokenSequence
from preflab.training.kept_pairs import KeptPair, KeptSide
from preflab.training.record_columns import PAIRS
from tiny_worlds import files_of, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)
CHOSEN, REJECTED = TokenSequence((3, 1), (1, 1, 1)), TokenSequence((3, 1), (0, 2))
PAIRS_KEPT = [
    KeptPair(
        "prompt", "p", KeptSide(CHOSEN, "bbb", ("b", "b", "b"), "one"), KeptSide(REJECTED, "ac", ("a", "c"), "two")
    )
]


def rows_at(folder: Path, step: int) -> list[dict[str, Any]]:
    return pq.read_table(folder / "pairs" / f"step-{step:06d}.parquet").to_pylist()


def steps(folder: Path) -> list[int]:
    return [int(path.stem[-6:]) for path in sorted((folder / "pairs").iterdir())]


def plain_logps(trunk: Trunk, role: Any, one: TokenSequence) -> list[float]:
    """Log-probability of each token of a completion by a plain forward pass."""
    ids = torch.tensor([one.prompt_ids + one.completion_ids])
    with torch.no_grad(), trunk.role(role):
        logps = trunk.language_model(role)(ids).logits[0].log_softmax(-1)
    at = len(one.prompt_ids) - 1
    return [logps[at + place, token].item() for place, token in enumerate(one.completion_ids)]


def dpo(folder: Path, lora: LoraSettings | None, num_steps: int, *, reference: bool = True, **changes: Any) -> Trunk:
    trunk = policy_and_reference(lora) if reference else tiny_trunk(("policy",), lora=lora, vocab_size=5)
    run = dpo_run(folder, trunk, num_steps=num_steps, **changes)
    run.kept_pairs = PAIRS_KEPT
    if not reference:
        run.sampler = None
    train_dpo(run)
    return trunk


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_kept_numbers_of_dpo_are_those_of_plain_passes(lora: LoraSettings | None, tmp_path: Path) -> None:
    """Every second step, before the first one, and after the last; the implicit reward is β = 0.1 times the ratio."""
    trained = dpo(tmp_path, lora, 5)
    assert steps(tmp_path) == [0, 2, 4, 5]
    for row in rows_at(tmp_path, 0):
        assert row["logps"] == pytest.approx(row["ref_logps"], abs=1e-5)
        assert row["score"] == pytest.approx(0.0, abs=1e-5)
    chosen, rejected = rows_at(tmp_path, 5)
    rewards = []
    for row, one in ((chosen, CHOSEN), (rejected, REJECTED)):
        logps, ref_logps = plain_logps(trained, "policy", one), plain_logps(trained, "reference", one)
        assert row["logps"] == pytest.approx(logps, abs=1e-5)
        assert row["ref_logps"] == pytest.approx(ref_logps, abs=1e-5)
        rewards.append(0.1 * (sum(logps) - sum(ref_logps)))
        assert row["score"] == pytest.approx(rewards[-1], abs=1e-5)
    assert chosen["margin"] == rejected["margin"] == pytest.approx(rewards[0] - rewards[1], abs=1e-5)
    assert abs(chosen["margin"]) > 0.01, "the run did learn something"
    assert list(chosen) == list(PAIRS), "the columns of the page, in its order"


def test_reference_of_a_run_without_one_is_the_policy_before_training(tmp_path: Path) -> None:
    """Also after a restart, when the policy is another one already."""
    changes = {
        "watch": {"every": 2, "num_samples": 0},
        "optimiser": {"learning_rate": 1e-2, "schedule": "constant"},  # as fast after two of two steps as of four
    }
    dpo(tmp_path / "whole", None, 4, reference=False, **changes)
    dpo(tmp_path / "cut", None, 2, reference=False, **changes)
    dpo(tmp_path / "cut", None, 4, reference=False, **changes)
    assert files_of(tmp_path / "whole" / "pairs") == files_of(tmp_path / "cut" / "pairs")
    fresh = tiny_trunk(("policy",), vocab_size=5)
    assert rows_at(tmp_path / "cut", 4)[0]["ref_logps"] == pytest.approx(plain_logps(fresh, "policy", CHOSEN), abs=1e-5)


def test_pairs_leave_a_run_as_it_is(tmp_path: Path) -> None:
    kept = dpo(tmp_path / "kept", LORA, 3)
    without = policy_and_reference(LORA)
    train_dpo(dpo_run(tmp_path / "none", without, num_steps=3))
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, without.state_dict()[name]), name
    assert not (tmp_path / "none" / "pairs").exists()


def reward_model(folder: Path, num_steps: int, *, until: int | None = None) -> Trunk:
    """A reward model that learns one ranking; `until` breaks it off after that many steps."""
    trunk = tiny_trunk(("reward",), lora=LORA, vocab_size=5)
    ranking = Ranking("prompt", (CHOSEN, REJECTED), (LabelledPair(0, 1, 1.0, 1.0),), (1, 2), (3, 2))
    settings = RewardSettings(
        model="-",
        preferences="-",
        num_rankings_per_step=1,
        optimiser=OptimiserSettings(learning_rate=1e-2, schedule="constant"),
        run={"save_every": 1},
    )
    train_reward_model(
        trunk,
        [ranking],
        settings,
        num_steps=num_steps if until is None else until,
        folder=folder,
        seed=3,
        accelerator=Accelerator(cpu=True),
        kept_pairs=PAIRS_KEPT,
    )
    return trunk


def test_kept_scores_of_a_reward_model_are_its_own(tmp_path: Path) -> None:
    """The margin before a step is the one that the step learns from; after the last it is that of the model."""
    trunk = reward_model(tmp_path, 4)
    assert steps(tmp_path) == [0, 1, 2, 3, 4]
    for step, row in enumerate(read_jsonl(tmp_path / "metrics.jsonl")):
        assert rows_at(tmp_path, step)[1]["margin"] == pytest.approx(row["score/margin"], abs=1e-5)
    chosen, rejected = rows_at(tmp_path, 4)
    with torch.no_grad():
        scores = trunk(trunk.collate([CHOSEN, REJECTED]), ("reward",))["reward"].rewards.tolist()
    assert [chosen["score"], rejected["score"]] == pytest.approx(scores, abs=1e-5)
    assert list(chosen) == [name for name, column in PAIRS.items() if column.where == "always"]


def test_reward_model_that_is_resumed_keeps_the_same_pairs(tmp_path: Path) -> None:
    reward_model(tmp_path / "whole", 4)
    reward_model(tmp_path / "cut", 4, until=2)
    reward_model(tmp_path / "cut", 4)
    assert files_of(tmp_path / "whole" / "pairs") == files_of(tmp_path / "cut" / "pairs")
