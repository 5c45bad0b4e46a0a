"""The GRPO family against TRL's own numbers on the same tensors (development only).

PREFLAB_TRL_PYTHON names the Python of an environment that has TRL 1.16; without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.maths.reductions import StepCounts
from preflab.maths.sequence_ratio import clipped_ratio_loss
from preflab.models.role_output import RoleOutput
from preflab.policy.variants import VARIANTS, token_k3

B, T, MAX_TOKENS, BETA = 8, 6, 9, 0.07
Given = dict[str, Tensor]

TOKEN, SEQUENCE = {"level": "token"}, {"level": "sequence"}
# our algorithm → TRL's trainer and its options, clip range and maximum length left out
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {"loss_type": "grpo", **TOKEN}),
    "dr_grpo": ("grpo", {"loss_type": "dr_grpo", "max_tokens": MAX_TOKENS, **TOKEN}),
    "dapo": ("grpo", {"loss_type": "dapo", **TOKEN}),
    "gspo": ("grpo", {"loss_type": "grpo", **SEQUENCE}),
    "rloo": ("rloo", {}),
}
WITH_KL = ("grpo", "dr_grpo", "dapo")


@pytest.fixture(scope="module")
def given() -> Given:
    """Log-probabilities of tokens under three policies, masks and advantages; some ratios beyond every clip range."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(T) < torch.randint(1, T + 1, (B, 1), generator=generator)
    logps = -3 * torch.rand(B, T, generator=generator)
    return {
        "logps": torch.where(mask, logps, 0.0),
        "old_logps": torch.where(mask, logps + 0.15 * torch.randn(B, T, generator=generator), 0.0),
        "ref_logps": torch.where(mask, logps + torch.randn(B, T, generator=generator), 0.0),
        "mask": mask.float(),
        "advantages": torch.randn(B, generator=generator),
    }


@pytest.fixture(scope="module")
def theirs(given: Given) -> dict[str, Any]:
    """What TRL says: name → [loss, gradient (B, T)]."""
    python = os.environ.get("PREFLAB_TRL_PYTHON")
    if not python:
        pytest.skip("PREFLAB_TRL_PYTHON is not set: name the Python of an environment with TRL 1.16")
    losses: dict[str, Any] = {}
    for name, (kind, options) in THEIRS.items():
        clip = {"low": VARIANTS[name].clip_low, "high": VARIANTS[name].clip_high}
        losses[name] = [kind, options | clip]
        if name in WITH_KL:
            losses[f"{name} with kl"] = [kind, options | clip | {"beta": BETA}]
    asked = {"given": {name: tensor.tolist() for name, tensor in given.items()}, "losses": losses}
    done = subprocess.run(
        [python, str(Path(__file__).with_name("trl_groups_side.py"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["version"].startswith("1.16"), found["version"]
    return found


def ours(given: Given, name: str, kl_coef: float) -> tuple[float, Tensor]:
    """Our loss and its gradient in the tokens' log-probabilities."""
    variant, mask = VARIANTS[name], given["mask"].bool()
    logps = given["logps"].clone().requires_grad_()
    weights = variant.reduction(mask, StepCounts(B, float(mask.sum()), MAX_TOKENS))
    loss = clipped_ratio_loss(
        logps, given["old_logps"], given["advantages"].unsqueeze(1).expand(B, T), mask, weights,
        log_ratio=variant.log_ratio, clip_low=variant.clip_low, clip_high=variant.clip_high,
        num_tokens=float(mask.sum()),
    ).loss  # fmt: skip
    if kl_coef:
        loss = loss + kl_coef * token_k3(RoleOutput(logps=logps), given["ref_logps"], mask, weights)
    (gradient,) = torch.autograd.grad(loss, logps)
    return loss.item(), gradient


@pytest.mark.parametrize("name", [*THEIRS, *(f"{name} with kl" for name in WITH_KL)])
def test_losses_of_groups(name: str, given: Given, theirs: dict[str, Any]) -> None:
    algorithm = name.removesuffix(" with kl")
    loss, gradient = ours(given, algorithm, BETA if name != algorithm else 0.0)
    if algorithm != "rloo":  # ours counts a completion's loss at each of its tokens: another value, the same gradient
        assert loss == pytest.approx(theirs[name][0], abs=1e-5)
    mask = given["mask"].bool()
    torch.testing.assert_close(gradient[mask], torch.tensor(theirs[name][1])[mask], atol=1e-5, rtol=1e-5)
    assert gradient.abs().max() > 1e-3
