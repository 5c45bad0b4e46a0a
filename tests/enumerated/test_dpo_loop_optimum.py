"""DPO's own loop, on a tiny transformer whose sixteen completions can be listed, lands where its page says."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from preflab.policy.dpo import DpoRun, train_dpo
from preflab.policy.dpo_groups import Group, LabelledPair
from preflab.policy.dpo_logps import ReferenceCache
from preflab.settings.dpo import DpoSettings
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence
from tiny_worlds import all_sequences, sequence_logps, tiny_trunk

BETA, TAU, FLIPS = 0.5, 0.25, 0.2
PROMPT = (3, 0)
"""Two different tokens: after one alone, a causal model cannot tell the prompt from its repetition in a completion."""


def utilities() -> Tensor:
    """(16,) what each completion is worth."""
    return torch.randn(16, generator=torch.Generator().manual_seed(4))


def completions() -> list[TokenSequence]:
    """All sixteen completions of the prompt."""
    return [replace(sequence, prompt_ids=PROMPT) for sequence in all_sequences()]


def landed(
    folder: Path, loss: dict[str, Any], *, flips: float = 0.0, lora: LoraSettings | None = None
) -> tuple[Tensor, Tensor]:
    """(16,) log-probabilities of the trained policy and of the reference; every pair with its exact probability."""
    trunk, sequences, u = tiny_trunk(("policy", "reference"), lora=lora), completions(), utilities()
    wins = torch.sigmoid(u[:, None] - u[None, :])
    labels = ((1 - flips) * wins + flips * (1 - wins)).tolist()
    pairs = tuple(LabelledPair(i, j, labels[i][j], 1.0) for i, j in itertools.combinations(range(16), 2))
    group = Group("the prompt", tuple(sequences), pairs)
    settings = DpoSettings(
        model="tiny",
        preferences="all",
        losses=[loss],
        lora=None if lora is None else lora.model_dump(),
        optimiser={"learning_rate": 1e-2 if lora is None else 5e-3, "max_grad_norm": 10.0},
        watch={"every": 1000, "num_samples": 0},
        run={"save_every": 1000},
    )
    train_dpo(
        DpoRun(
            trunk=trunk,
            settings=settings,
            groups=[group],
            held_out=[group],
            num_steps=200,
            cache=ReferenceCache(folder / "cache", "tiny", "float32"),
            folder=folder,
            seed=0,
            longest_row=64,
            accelerator=Accelerator(cpu=True),
        )
    )
    policy, reference = (sequence_logps(trunk, role, sequences) for role in ("policy", "reference"))
    assert policy.exp().sum() == pytest.approx(1.0, abs=1e-4)
    return policy, reference


def distance(policy: Tensor, target: Tensor) -> float:
    """KL(π ‖ target), nats."""
    return float((policy.exp() * (policy - target.log_softmax(0))).sum())


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=8, alpha=16)], ids=["full", "adapters"])
def test_dpo_lands_on_the_tilted_reference(lora: LoraSettings | None, tmp_path: Path) -> None:
    policy, reference = landed(tmp_path, {"kind": "dpo", "beta": BETA}, lora=lora)
    assert distance(reference, reference + utilities() / BETA) > 0.3
    assert distance(policy, reference + utilities() / BETA) < 0.02


def test_robust_dpo_lands_there_through_flipped_labels(tmp_path: Path) -> None:
    policy, reference = landed(tmp_path, {"kind": "robust", "beta": BETA, "flip_rate": FLIPS}, flips=FLIPS)
    assert distance(policy, reference + utilities() / BETA) < 0.02


def test_ipo_lands_at_the_chance_to_win(tmp_path: Path) -> None:
    policy, reference = landed(tmp_path, {"kind": "ipo", "tau": TAU})
    u = utilities()
    chance = torch.sigmoid(u[:, None] - u[None, :]).mean(1)
    assert distance(policy, reference + chance / TAU) < 0.02
