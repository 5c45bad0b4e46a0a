"""The group on the page docs/algorithms/grpo.md: the package gives the numbers of the data file the page is held to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.maths.advantages import STD_FLOOR
from preflab.maths.reductions import StepCounts
from preflab.maths.sequence_ratio import clipped_ratio_loss
from preflab.policy.variants import VARIANTS

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "grpo_worked_example.json").read_text(encoding="utf-8")
)
LENGTHS = torch.tensor(EXAMPLE["group"]["lengths"])
MASK = torch.arange(4) < LENGTHS.unsqueeze(1)


def ratios() -> torch.Tensor:
    return torch.tensor([row + [float("nan")] * (4 - len(row)) for row in EXAMPLE["ratios"]], dtype=torch.float64)


def test_the_file_names_every_algorithm() -> None:
    assert EXAMPLE["advantages"].keys() == EXAMPLE["losses"].keys() == VARIANTS.keys()


@pytest.mark.parametrize("algorithm", VARIANTS)
def test_advantages_and_loss(algorithm: str) -> None:
    torch.set_default_dtype(torch.float64)
    variant = VARIANTS[algorithm]
    rewards = torch.tensor([EXAMPLE["group"]["rewards"]], dtype=torch.float64)
    # The deviation is 1, so the floor that is added to it is all that keeps division from changing nothing.
    floor = 1 + STD_FLOOR if algorithm in ("grpo", "dapo", "gspo") else 1
    advantages = variant.advantages(rewards)[0] * floor
    assert advantages.tolist() == pytest.approx(EXAMPLE["advantages"][algorithm])
    logps, old_logps = ratios().log() - 3, torch.full((3, 4), -3.0)
    counts = StepCounts(3, float(LENGTHS.sum()), EXAMPLE["group"]["max_new_tokens"])
    found = clipped_ratio_loss(
        logps, old_logps, advantages.unsqueeze(1).expand(3, 4), MASK, variant.reduction(MASK, counts),
        log_ratio=variant.log_ratio, clip_low=variant.clip_low, clip_high=variant.clip_high, num_tokens=7.0,
    )  # fmt: skip
    assert found.loss.item() == pytest.approx(EXAMPLE["losses"][algorithm], abs=1e-6)


@pytest.mark.parametrize("algorithm", ["rloo", "gspo"])
def test_ratios_of_whole_completions(algorithm: str) -> None:
    log_ratio = VARIANTS[algorithm].log_ratio(ratios().log(), torch.zeros(3, 4, dtype=torch.float64), MASK)
    assert log_ratio[:, 0].exp().tolist() == pytest.approx(EXAMPLE["sequence_ratios"][algorithm], abs=1e-6)
