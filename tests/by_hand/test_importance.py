"""Truncated importance weights: min(π_trainer / π_sampler, cap) per token, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from preflab.maths.losses import clipped_policy_loss
from preflab.policy.importance import importance_statistics, importance_weights, weighted
from preflab.records import Prompt
from preflab.settings.ppo import PpoSettings
from preflab.training.processes import make_accelerator
from preflab.training.protocols import SampledCompletion
from preflab.training.rollouts import Rollouts

LOG = math.log


def rollouts() -> Rollouts:
    """Trainer over sampler: 0.4/0.2 = 2, 0.1/0.2 = 0.5; and 0.6/0.1 = 6, in the second row, which has one token."""
    sampled = [
        SampledCompletion((1, 2), (LOG(0.2), LOG(0.2)), "stop"),
        SampledCompletion((1,), (LOG(0.1),), "stop"),
    ]
    prompt = Prompt.make(text="a")
    made = Rollouts.start([prompt, prompt], [(0,), (0,)], sampled, ["x", "y"])
    made.trainer_logps = torch.tensor([[LOG(0.4), LOG(0.1)], [LOG(0.6), 0.0]])
    made.take_trainers_logps()
    return made


@pytest.mark.parametrize(("cap", "second"), [(10.0, 6.0), (3.0, 3.0)])
def test_weights_are_ratios_up_to_the_cap(cap: float, second: float) -> None:
    expected = torch.tensor([[2.0, 0.5], [second, 0.0]])
    assert torch.allclose(importance_weights(rollouts(), cap), expected)


def test_weight_multiplies_the_loss_of_its_token() -> None:
    """Ratios 1.5 and 1 to π_old, clip 0.2, advantages 1 and −2, and 1: losses −1.2, 2 and −1, times 2, 0.5 and 3."""
    made = rollouts()
    logps = made.old_logps + torch.tensor([[LOG(1.5), 0.0], [0.0, 0.0]])
    advantages = torch.tensor([[1.0, -2.0], [1.0, 0.0]])
    loss = clipped_policy_loss(
        logps, made.old_logps, weighted(advantages, made, 3.0), made.completion_mask,
        clip_low=0.2, clip_high=0.2, denominator=1.0,
    ).loss  # fmt: skip
    assert loss.item() == pytest.approx(-1.2 * 2 + 2 * 0.5 - 1 * 3, abs=1e-5)


def test_without_a_cap_nothing_changes() -> None:
    advantages = torch.ones(2, 2)
    assert weighted(advantages, rollouts(), None) is advantages
    assert importance_statistics(make_accelerator(), rollouts(), None) == {}


def test_statistics_count_the_tokens_that_were_cut() -> None:
    """Weights 2, 0.5 and 3 over three tokens; one was above the cap."""
    found = importance_statistics(make_accelerator(), rollouts(), 3.0)
    assert found == {"importance/mean": pytest.approx(5.5 / 3), "importance/num_cut": 1.0}


def test_the_weight_gives_the_trainers_gradient_in_expectation() -> None:
    """The sampler draws two actions with 0.25 and 0.75, the trainer has 0.5 each: Σ q w A ∇log p = Σ p A ∇log p."""
    logits = torch.zeros(2, requires_grad=True)
    q, advantages = torch.tensor([0.25, 0.75]), torch.tensor([1.0, -3.0])
    p = logits.softmax(-1)
    (exact,) = torch.autograd.grad((p * advantages).sum(), logits, retain_graph=True)
    weights = (p.detach() / q).clamp(max=10.0)
    (found,) = torch.autograd.grad((q * weights * advantages * p.log()).sum(), logits, retain_graph=True)
    (biased,) = torch.autograd.grad((q * advantages * p.log()).sum(), logits)
    assert torch.allclose(found, exact)
    assert exact.tolist() == pytest.approx([1.0, -1.0])  # p1 p2 (A1 − A2)
    assert biased.tolist() == pytest.approx([1.25, -1.25])  # Σ q A (1{a} − ½) = ½ (0.25 + 2.25)


def test_it_is_off_by_default() -> None:
    values: dict[str, Any] = {"model": "m", "prompts": "p", "rewards": [{"function": "a:b"}]}
    assert PpoSettings(**values).truncated_importance is None
