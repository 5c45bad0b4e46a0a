"""DPO and its relatives against TRL's own numbers on the same tensors (development only).

PREFLAB_TRL_PYTHON names the Python of an environment that has TRL 1.16; without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.maths import dpo

P, T = 5, 6
Given = dict[str, Tensor]

# name → TRL's loss with its options, and ours on the same tensors
CASES: dict[str, tuple[str, dict[str, float], Callable[[dpo.Pairs], Tensor]]] = {
    "dpo": ("sigmoid", {"beta": 0.3}, lambda p: dpo.dpo_loss(p, beta=0.3)),
    "dpo, length-normalised": (
        "sigmoid_norm",
        {"beta": 3.0},
        lambda p: dpo.dpo_loss(p, beta=3.0, length_normalised=True),
    ),
    "robust": (
        "robust",
        {"beta": 0.3, "label_smoothing": 0.2},
        lambda p: dpo.robust_loss(p, beta=0.3, flip_rate=0.2),
    ),
    "hinge": ("hinge", {"beta": 0.3}, lambda p: dpo.hinge_loss(p, beta=0.3)),
    "ipo": ("ipo", {"beta": 0.4}, lambda p: dpo.ipo_loss(p, tau=0.4, length_normalised=True)),
    "simpo": ("simpo", {"beta": 2.0, "gamma": 0.7}, lambda p: dpo.simpo_loss(p, beta=2.0, margin=0.7)),
    "cdpo": (
        "smoothed",
        {"beta": 0.3, "label_smoothing": 0.2},
        lambda p: dpo.cdpo_loss(without_reference(p), beta=0.3, flip_rate=0.2),
    ),
    "odds ratio of orpo": (
        "odds_ratio",
        {"beta": 0.1},
        lambda p: dpo.orpo_loss(p, odds_weight=0.1) - dpo.chosen_nll_loss(p),
    ),
}
KTO = {"beta": 0.3, "desirable_weight": 1.3, "undesirable_weight": 0.8}


def without_reference(pairs: dpo.Pairs) -> dpo.Pairs:
    sides = [side._replace(ref_logps=torch.zeros_like(side.ref_logps)) for side in (pairs.chosen, pairs.rejected)]
    return pairs._replace(chosen=sides[0], rejected=sides[1])


@pytest.fixture(scope="module")
def given() -> Given:
    """Log-probabilities of tokens, 0 beyond each completion's end, and what the reference says of the completions."""
    generator = torch.Generator().manual_seed(0)

    def side() -> tuple[Tensor, Tensor]:
        lengths = torch.randint(1, T + 1, (P, 1), generator=generator)
        mask = torch.arange(T) < lengths
        return torch.where(mask, -3 * torch.rand(P, T, generator=generator), 0.0), mask.float()

    (chosen, chosen_mask), (rejected, rejected_mask) = side(), side()
    return {
        "chosen": chosen,
        "rejected": rejected,
        "chosen_mask": chosen_mask,
        "rejected_mask": rejected_mask,
        "ref_chosen": chosen.sum(1) + torch.randn(P, generator=generator),
        "ref_rejected": rejected.sum(1) + torch.randn(P, generator=generator),
        "mismatched": -10 + torch.randn(P, generator=generator),
        "ref_mismatched": -11 + torch.randn(P, generator=generator),
    }


@pytest.fixture(scope="module")
def theirs(given: Given) -> dict[str, Any]:
    """What TRL says: name → [loss, gradient (2P, T)]."""
    python = os.environ.get("PREFLAB_TRL_PYTHON")
    if not python:
        pytest.skip("PREFLAB_TRL_PYTHON is not set: name the Python of an environment with TRL 1.16")
    asked = {
        "given": {name: tensor.tolist() for name, tensor in given.items()},
        "losses": {**{name: case[:2] for name, case in CASES.items()}, "kto": ("kto", KTO)},
    }
    done = subprocess.run(
        [python, str(Path(__file__).with_name("trl_side.py"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": "", "TRL_EXPERIMENTAL_SILENCE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["version"].startswith("1.16"), found["version"]
    return found


def ours(given: Given, loss: Callable[[dpo.Side, dpo.Side], Tensor]) -> tuple[float, Tensor]:
    """Our loss and its gradient in the tokens' log-probabilities."""
    chosen, rejected = given["chosen"].clone().requires_grad_(), given["rejected"].clone().requires_grad_()
    sides = [
        dpo.Side((logps * given[f"{name}_mask"]).sum(1), given[f"ref_{name}"], given[f"{name}_mask"].sum(1))
        for name, logps in (("chosen", chosen), ("rejected", rejected))
    ]
    value = loss(*sides)
    return value.item(), torch.cat(torch.autograd.grad(value, [chosen, rejected]))


def check(found: tuple[float, Tensor], expected: list[Any], given: Given) -> None:
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    mask = torch.cat([given["chosen_mask"], given["rejected_mask"]]).bool()
    torch.testing.assert_close(found[1][mask], torch.tensor(expected[1])[mask], atol=1e-5, rtol=1e-5)
    assert found[1].abs().max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_losses_of_pairs(name: str, given: Given, theirs: dict[str, Any]) -> None:
    ones = torch.ones(P)
    found = ours(given, lambda chosen, rejected: CASES[name][2](dpo.Pairs(chosen, rejected, ones, ones)))
    check(found, theirs[name], given)


def test_kto(given: Given, theirs: dict[str, Any]) -> None:
    def loss(chosen: dpo.Side, rejected: dpo.Side) -> Tensor:
        both = dpo.Side(*(torch.cat(parts) for parts in zip(chosen, rejected, strict=True)))
        up = torch.cat([torch.ones(P), torch.zeros(P)])
        kl = dpo.kto_kl(given["mismatched"] - given["ref_mismatched"])
        assert kl > 0
        return dpo.kto_loss(dpo.Verdicts(both, up, torch.ones(2 * P)), kl=kl, **KTO)

    check(ours(given, loss), theirs["kto"], given)
