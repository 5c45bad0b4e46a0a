"""The expected gradient of each algorithm over every group equals what its page says it is, to 1e-10."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from enumerated.group_world import GroupWorld, online_dpo_gradient
from enumerated.world import World
from tiny_groups import expected_advantages

KL_COEF = 0.5
EQUAL = World(3, 2)
UNEQUAL = World(2, 3, end_token=0, seed=2)
RIGHT = ("reward_k1", "sequence_loss", "exact")


@pytest.fixture(autouse=True)
def double() -> None:
    """Everything in float64, weights included."""
    torch.set_default_dtype(torch.float64)


def some_policy(world: World, seed: int = 5) -> Tensor:
    noise = torch.randn(world.ref_logits.shape, generator=torch.Generator().manual_seed(seed))
    return world.ref_logits + 0.8 * noise


def reward_gradient(world: World, logits: Tensor) -> Tensor:
    """−∇ E[score], by autograd through the sum over completions."""
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-(world.seq_logps(logits).exp() * world.scores).sum(), logits)
    return gradient


def kl_gradient(world: World, logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(world.kl(logits), logits)
    return gradient


def weighted_gradient(world: World, logits: Tensor, worth: Tensor) -> Tensor:
    """−Σ_y π(y) · worth_y · ∇ log π(y), worth (N,) held fixed."""
    logits = logits.clone().requires_grad_()
    logps = world.seq_logps(logits)
    (gradient,) = torch.autograd.grad(-(logps.detach().exp() * worth * logps).sum(), logits)
    return gradient


@pytest.mark.parametrize("world", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("treatment", RIGHT)
def test_rloo_has_the_gradient_of_the_objective(world: World, treatment: str) -> None:
    logits = some_policy(world)
    found = GroupWorld(world, 3).gradient(logits, "rloo", treatment, KL_COEF)
    expected = reward_gradient(world, logits) + KL_COEF * kl_gradient(world, logits)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("world", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("num", [2, 3])
def test_dr_grpo_has_k_minus_one_over_k_of_it(world: World, num: int) -> None:
    """Per token of the longest completion; the share falls on the reward, and on the KL where that is in the reward."""
    logits, share, longest = some_policy(world), (num - 1) / num, world.num_tokens
    reward, kl = reward_gradient(world, logits), KL_COEF * kl_gradient(world, logits)
    for treatment in RIGHT:
        expected = (share * reward + (share if treatment == "reward_k1" else 1) * kl) / longest
        found = GroupWorld(world, num).gradient(logits, "dr_grpo", treatment, KL_COEF)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("algorithm", ["grpo", "dapo", "gspo"])
@pytest.mark.parametrize("num", [2, 3])
def test_division_by_std_learns_the_expected_advantage(algorithm: str, num: int) -> None:
    """With completions of one length T all three have the same gradient, over T."""
    world, logits = EQUAL, some_policy(EQUAL)
    expected = expected_advantages(world.seq_logps(logits).exp(), world.scores, num, divide=True)
    reward = weighted_gradient(world, logits, expected)
    groups = GroupWorld(world, num)
    torch.testing.assert_close(groups.gradient(logits, algorithm, "reward_k1", 0.0), reward / 2, rtol=0, atol=1e-10)
    for treatment in ("sequence_loss", "exact"):
        found = groups.gradient(logits, algorithm, treatment, KL_COEF)
        with_kl = (reward + KL_COEF * kl_gradient(world, logits)) / 2
        torch.testing.assert_close(found, with_kl, rtol=0, atol=1e-10)
    # k1 in the reward: the advantage is that of the reward less the KL.
    log_ratio = world.seq_logps(logits) - world.seq_logps(world.ref_logits)
    inside = expected_advantages(world.seq_logps(logits).exp(), world.scores - KL_COEF * log_ratio, num, divide=True)
    found = groups.gradient(logits, algorithm, "reward_k1", KL_COEF)
    torch.testing.assert_close(found, weighted_gradient(world, logits, inside) / 2, rtol=0, atol=1e-10)


@pytest.mark.parametrize("algorithm", ["grpo", "gspo"])
def test_division_by_length_weighs_short_completions_more(algorithm: str) -> None:
    world, logits = UNEQUAL, some_policy(UNEQUAL)
    lengths = world.mask.sum(-1)
    expected = expected_advantages(world.seq_logps(logits).exp(), world.scores, 3, divide=True)
    found = GroupWorld(world, 3).gradient(logits, algorithm, "reward_k1", 0.0)
    torch.testing.assert_close(found, weighted_gradient(world, logits, expected / lengths), rtol=0, atol=1e-10)
    undivided = weighted_gradient(world, logits, expected)
    rest = found - (found * undivided).sum() / undivided.square().sum() * undivided
    assert rest.norm() > 0.01 * found.norm(), "another direction, so another optimum"


def test_dapo_divides_by_the_tokens_of_the_step() -> None:
    world, logits = UNEQUAL, some_policy(UNEQUAL)
    probabilities = world.seq_logps(logits).exp()
    expected = expected_advantages(probabilities, world.scores, 3, divide=True)
    mean_length = (probabilities * world.mask.sum(-1)).sum()
    found = GroupWorld(world, 3).gradient(logits, "dapo", "reward_k1", 0.0)
    torch.testing.assert_close(found, weighted_gradient(world, logits, expected) / mean_length, rtol=0, atol=1e-10)


def test_the_published_kl_loss_of_grpo_is_another_one() -> None:
    logits = some_policy(EQUAL)
    groups = GroupWorld(EQUAL, 2)
    right = groups.gradient(logits, "grpo", "exact", KL_COEF)
    assert (groups.gradient(logits, "grpo", "token_k3", KL_COEF) - right).norm() > 0.01 * right.norm()


@pytest.mark.parametrize("world", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_online_dpo_with_soft_labels_is_still_at_the_optimum_alone(world: World) -> None:
    """A table that holds π* exactly has no gradient; the reference has one."""
    beta = KL_COEF
    labels = torch.sigmoid(world.scores.unsqueeze(1) - world.scores.unsqueeze(0))
    at_optimum = optimal_table(world, beta)
    torch.testing.assert_close(world.seq_logps(at_optimum), world.optimum(beta), rtol=0, atol=1e-10)
    found = online_dpo_gradient(world, at_optimum, beta, labels)
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-10)
    assert online_dpo_gradient(world, world.ref_logits, beta, labels).norm() > 0.01
    hard = (labels > 0.5).double() + 0.5 * (labels == 0.5)
    assert online_dpo_gradient(world, at_optimum, beta, hard).norm() > 0.01, "hard labels pull it on"


@pytest.mark.parametrize("world", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_online_dpo_has_its_gradient_written_out(world: World) -> None:
    """−β Σ_ab π(a) π(b) (label − σ(β h)) ∇(log π(a) − log π(b))."""
    logits, beta = some_policy(world).requires_grad_(), KL_COEF
    labels = torch.sigmoid(world.scores.unsqueeze(1) - world.scores.unsqueeze(0))
    logps, ref_logps = world.seq_logps(logits), world.seq_logps(world.ref_logits)
    total = torch.zeros(())
    for a in range(len(world.completions)):
        for b in range(len(world.completions)):
            h = (logps[a] - ref_logps[a] - logps[b] + ref_logps[b]).item()
            sigma = 1 / (1 + math.exp(-beta * h))
            often = math.exp(logps[a].item() + logps[b].item())
            total = total - often * beta * (labels[a, b].item() - sigma) * (logps[a] - logps[b])
    (expected,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(online_dpo_gradient(world, logits, beta, labels), expected, rtol=0, atol=1e-10)


def optimal_table(world: World, kl_coef: float) -> Tensor:
    """(contexts, V) logits whose completions have the probabilities of π*: the mass that goes through each token."""
    optimum, table = world.optimum(kl_coef).exp(), torch.zeros_like(world.ref_logits)
    for n, t in world.mask.nonzero().tolist():
        table[world.contexts[n, t], world.tokens[n, t]] += optimum[n]
    return table.log()
