"""GAE over every completion: its policy gradient is the exact one, and its returns are what values have to learn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from enumerated.world import World
from preflab.maths.advantages import gae, scores_at_last_token
from preflab.maths.losses import clipped_policy_loss, clipped_value_loss

WORLDS = {
    "V=3, T=2": World(3, 2),
    "V=2, T<=3": World(2, 3, end_token=0),
}
worlds = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())


def some_table(world: World, seed: int, *shape: int) -> Tensor:
    return torch.randn(world.num_contexts, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def true_gradient(world: World, logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-(world.seq_logps(logits).exp() * world.scores).sum(), logits)
    return gradient


def true_values(world: World, logits: Tensor) -> Tensor:
    """(contexts,) expected score given the context, counted out."""
    probabilities = world.seq_logps(logits).exp()
    mass, total = torch.zeros(world.num_contexts).double(), torch.zeros(world.num_contexts).double()
    for n, t in world.mask.nonzero().tolist():
        mass[world.contexts[n, t]] += probabilities[n]
        total[world.contexts[n, t]] += probabilities[n] * world.scores[n]
    return total / mass


def gae_gradient(world: World, logits: Tensor, values: Tensor, lam: float) -> Tensor:
    """Σ_y π(y) ∇ of the clipped loss at ratio 1, values (contexts,)."""
    per_completion = values[world.contexts]
    rewards = scores_at_last_token(world.scores, world.mask)
    advantages, _ = gae(rewards, per_completion, world.mask, gamma=1.0, lam=lam)
    logits = logits.clone().requires_grad_()
    logps = world.logps(logits)
    weighted = advantages * world.seq_logps(logits).exp().detach().unsqueeze(-1)
    # Weighing the advantages by π(y) is the expectation: at ratio 1 the loss is linear in them.
    loss = clipped_policy_loss(
        logps, logps.detach(), weighted, world.mask, clip_low=0.2, clip_high=0.2, denominator=1.0
    ).loss
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient


@worlds
def test_lambda_one_is_the_exact_policy_gradient_whatever_the_values(world: World) -> None:
    logits = world.ref_logits
    for values in (torch.zeros(world.num_contexts).double(), some_table(world, 1), true_values(world, logits)):
        found = gae_gradient(world, logits, values, lam=1.0)
        torch.testing.assert_close(found, true_gradient(world, logits), rtol=0, atol=1e-10)


@worlds
@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95])
def test_true_values_make_every_lambda_exact(world: World, lam: float) -> None:
    logits = world.ref_logits
    found = gae_gradient(world, logits, true_values(world, logits), lam)
    torch.testing.assert_close(found, true_gradient(world, logits), rtol=0, atol=1e-10)
    # Wrong values with lambda below 1 bias it: that is what lambda trades.
    biased = gae_gradient(world, logits, some_table(world, 1), lam)
    assert (biased - true_gradient(world, logits)).norm() > 1e-3


@worlds
def test_true_values_have_advantages_of_mean_zero_in_every_context(world: World) -> None:
    logits = world.ref_logits
    rewards = scores_at_last_token(world.scores, world.mask)
    advantages, _ = gae(rewards, true_values(world, logits)[world.contexts], world.mask, gamma=1.0, lam=1.0)
    mean = torch.zeros(world.num_contexts).double()
    probabilities = world.seq_logps(logits).exp()
    for n, t in world.mask.nonzero().tolist():
        mean[world.contexts[n, t]] += probabilities[n] * advantages[n, t]
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-10)


@worlds
def test_the_value_loss_is_least_at_the_true_values(world: World) -> None:
    logits = world.ref_logits
    rewards = scores_at_last_token(world.scores, world.mask)

    def expected_gradient(values: Tensor) -> Tensor:
        values = values.clone().requires_grad_()

        losses = []
        for n in range(len(world.completions)):
            row, mask = values[world.contexts[n : n + 1]], world.mask[n : n + 1]
            _, returns = gae(rewards[n : n + 1], row, mask, gamma=1.0, lam=1.0)
            losses.append(clipped_value_loss(row, row, returns, mask, clip=0.2, denominator=1.0).loss)
        (gradient,) = torch.autograd.grad((world.seq_logps(logits).exp() * torch.stack(losses)).sum(), values)
        return gradient

    right = true_values(world, logits)
    torch.testing.assert_close(expected_gradient(right), torch.zeros_like(right), rtol=0, atol=1e-10)
    # Too high a value is pulled down, too low a one up.
    assert (expected_gradient(right + 1) > 0).all()
    assert (expected_gradient(right - 1) < 0).all()
