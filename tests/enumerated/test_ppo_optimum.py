"""PPO lands on its optimum π* ∝ π_ref exp(reward / kl_coef) in a world where all sixteen completions can be listed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from preflab.policy.ppo import train_ppo
from preflab.settings.learning import LoraSettings
from tiny_worlds import all_sequences, sequence_logps, tiny_ppo, tiny_trunk

BETA = 0.5
REWARDS = {(0, 0): 1.0, (0, 1): -0.5, (0, 2): 0.3, (1, 0): 0.0, (1, 1): 0.8, (1, 2): -1.0, (2, 0): 0.2, (2, 1): 0.6}


def reward(ids: tuple[int, ...]) -> float:
    """A known reward of each completion; 0.4 for those not listed."""
    return REWARDS.get(tuple(ids), 0.4)


def distance_to_optimum(
    treatment: str, folder: Path, lora: LoraSettings | None, learning_rate: float = 1e-2, *, num_steps: int = 200
) -> float:
    """KL(π ‖ π*) of the trained policy, by enumeration."""
    trunk = tiny_trunk(lora=lora)
    once = treatment == "sequence_loss"
    run = tiny_ppo(
        folder,
        trunk,
        reward,
        kl_treatment=treatment,
        kl_coef=BETA,
        num_steps=num_steps,
        num_completions_per_step=256 if num_steps > 100 else 128,
        num_epochs=1 if once else 2,
        num_minibatches=1,
        value_coef=1.0,
        value_clip=None,
        whiten_advantages=False,
        lam=1.0,
        num_kept_rollouts=0,
        decoding={"max_new_tokens": 2, "max_batch_rows": 256},
        optimiser={"learning_rate": learning_rate, "max_grad_norm": 10.0, "schedule": "linear"},
        run={"save_every": 1000},
    )
    train_ppo(run)
    sequences = all_sequences()
    policy, reference = (sequence_logps(trunk, role, sequences) for role in ("policy", "reference"))
    rewards = torch.tensor([reward(s.completion_ids) for s in sequences])
    optimum = (reference + rewards / BETA).log_softmax(0)
    assert policy.exp().sum() == pytest.approx(1.0, abs=1e-4)
    return float((policy.exp() * (policy - optimum)).sum())


def test_ppo_lands_on_the_tilted_reference(tmp_path: Path) -> None:
    """From a KL of 0.48 to π*, in the fewest steps that reach it."""
    assert distance_to_optimum("reward_k1", tmp_path, lora=None, num_steps=100) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("treatment", ["reward_k1", "sequence_loss", "exact"])
def test_every_treatment_lands_on_the_tilted_reference(treatment: str, tmp_path: Path) -> None:
    assert distance_to_optimum(treatment, tmp_path, lora=None) < 0.01


@pytest.mark.slow
def test_ppo_with_adapters_lands_there_too(tmp_path: Path) -> None:
    assert distance_to_optimum("reward_k1", tmp_path, lora=LoraSettings(rank=8, alpha=16), learning_rate=5e-3) < 0.01
