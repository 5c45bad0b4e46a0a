"""KL over every completion: what each estimator expects, which treatments have the right gradient, where they end.

The objective is E[score] − KL_COEF · KL(policy ‖ reference) of whole completions; its gradient is taken by autograd
through the sum over all completions, its optimum is π* ∝ π_ref · exp(score / KL_COEF). `facts.md`-style distances from
π* are those of a converged policy in nats.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from enumerated.world import Rollout, World
from preflab.maths import kl
from preflab.maths.advantages import gae, scores_at_last_token
from preflab.maths.losses import clipped_policy_loss
from preflab.maths.masks import masked_sum, zero_masked

KL_COEF = 0.5
WORLDS = {
    "V=3, T=2": World(3, 2),
    "V=2, T<=3": World(2, 3, end_token=0),
}
worlds = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())


def some_policy(world: World, seed: int = 5) -> Tensor:
    noise = torch.randn(world.ref_logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return world.ref_logits + 1.5 * noise


# --- values ---------------------------------------------------------------------------------------------------------


def expectation(world: World, logits: Tensor, per_token: Tensor) -> float:
    """Σ_y π(y) Σ_t x_t."""
    return (world.seq_logps(logits).exp() * masked_sum(per_token, world.mask, dim=1)).sum().item()


@worlds
def test_expectations_of_the_estimators(world: World) -> None:
    logits = some_policy(world)
    logps, ref_logps = world.logps(logits), world.logps(world.ref_logits)
    true_kl = world.kl(logits).item()
    assert true_kl > 0.05
    assert expectation(world, logits, kl.kl_policy_ref_k1(logps, ref_logps)) == pytest.approx(true_kl, abs=1e-9)
    assert expectation(world, logits, kl.kl_policy_ref_k3(logps, ref_logps)) == pytest.approx(true_kl, abs=1e-9)
    assert expectation(world, logits, world.rollouts(logits).exact_kl) == pytest.approx(true_kl, abs=1e-9)


# --- gradients ------------------------------------------------------------------------------------------------------

Treatment = Callable[[Rollout], Tensor]


def policy_gradient(rollout: Rollout, kl_rewards: Tensor | None = None) -> Tensor:
    """What PPO does in its first minibatch: ratio 1, rewards to go as advantages, summed over tokens."""
    rewards = scores_at_last_token(rollout.score, rollout.mask)
    if kl_rewards is not None:
        rewards = rewards + kl_rewards
    advantages, _ = gae(rewards, torch.zeros_like(rewards), rollout.mask, gamma=1.0, lam=1.0)
    old_logps = rollout.logps.detach()
    return clipped_policy_loss(
        rollout.logps, old_logps, advantages, rollout.mask, clip_low=0.2, clip_high=0.2, denominator=1.0
    ).loss


def k1_in_reward(r: Rollout) -> Tensor:
    return policy_gradient(r, kl.kl_rewards_k1(r.logps, r.ref_logps, r.mask, KL_COEF))


def sequence_loss(r: Rollout) -> Tensor:
    return policy_gradient(r) + KL_COEF * kl.sequence_kl_loss(r.logps, r.ref_logps, r.mask, 1.0)


def exact_later_and_here(r: Rollout) -> Tensor:
    later = kl.kl_rewards_exact_later(r.exact_kl, r.mask, KL_COEF)
    return policy_gradient(r, later) + KL_COEF * kl.exact_kl_loss(r.exact_kl, r.mask, 1.0)


def exact_as_loss(r: Rollout) -> Tensor:
    return policy_gradient(r) + KL_COEF * kl.exact_kl_loss(r.exact_kl, r.mask, 1.0)


def per_token_loss(estimator: Callable[[Tensor, Tensor], Tensor]) -> Treatment:
    def treatment(r: Rollout) -> Tensor:
        return policy_gradient(r) + KL_COEF * masked_sum(estimator(r.logps, r.ref_logps), r.mask)

    return treatment


def half_square(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """k2 of Schulman 2020."""
    return 0.5 * (logps - ref_logps).square()


def k3_times_ratio_as_loss(r: Rollout) -> Tensor:
    ratio = (r.logps - r.logps.detach()).exp()
    return policy_gradient(r) + KL_COEF * masked_sum(ratio * kl.kl_policy_ref_k3(r.logps, r.ref_logps), r.mask)


def in_reward(estimator: Callable[[Tensor, Tensor], Tensor]) -> Treatment:
    def treatment(r: Rollout) -> Tensor:
        return policy_gradient(r, -KL_COEF * zero_masked(estimator(r.logps, r.ref_logps), r.mask).detach())

    return treatment


def exact_in_reward(r: Rollout) -> Tensor:
    return policy_gradient(r, -KL_COEF * zero_masked(r.exact_kl, r.mask).detach())


RIGHT: dict[str, Treatment] = {
    "k1 in reward": k1_in_reward,
    "sequence loss": sequence_loss,
    "exact: later in reward, here as loss": exact_later_and_here,
}

# Treatment, and how far from π* the policy ends in the world V = 3, T = 2, in nats.
WRONG: dict[str, tuple[Treatment, float]] = {
    "exact as loss": (exact_as_loss, 0.031),
    "k2 as loss": (per_token_loss(half_square), 0.031),
    "k3 x ratio as loss": (k3_times_ratio_as_loss, 0.031),
    "k3 as loss": (per_token_loss(kl.kl_policy_ref_k3), 0.053),
    "k1 as loss": (per_token_loss(kl.kl_policy_ref_k1), 0.213),
    "exact in reward": (exact_in_reward, 0.213),
    "k2 in reward": (in_reward(half_square), 0.203),
    "k3 in reward": (in_reward(kl.kl_policy_ref_k3), 0.215),
}


def true_gradient(world: World, logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-world.objective(logits, KL_COEF), logits)
    return gradient


@worlds
@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("seed", [5, 6])
def test_right_treatments_have_the_gradient_of_the_objective(world: World, name: str, seed: int) -> None:
    logits = some_policy(world, seed)
    found = world.expected_gradient(logits, RIGHT[name])
    torch.testing.assert_close(found, true_gradient(world, logits), rtol=0, atol=1e-10)


@worlds
@pytest.mark.parametrize("name", WRONG)
def test_wrong_treatments_have_not(world: World, name: str) -> None:
    logits = some_policy(world)
    found, expected = world.expected_gradient(logits, WRONG[name][0]), true_gradient(world, logits)
    assert (found - expected).norm() > 0.01 * expected.norm()


@worlds
def test_what_the_wrong_losses_do_instead(world: World) -> None:
    logits = some_policy(world)
    kl_part: dict[str, Tensor] = {}
    for name in ("k1 as loss", "k2 as loss", "k3 as loss", "k3 x ratio as loss", "exact as loss"):
        with_kl = world.expected_gradient(logits, WRONG[name][0])
        kl_part[name] = (with_kl - world.expected_gradient(logits, policy_gradient)) / KL_COEF
    # k1: E ∇ log π = 0. k2, k3 × ratio and exact: the same thing, the KL of each position with its context held fixed.
    torch.testing.assert_close(kl_part["k1 as loss"], torch.zeros_like(logits), rtol=0, atol=1e-10)
    for name in ("k2 as loss", "k3 x ratio as loss"):
        torch.testing.assert_close(kl_part[name], kl_part["exact as loss"], rtol=0, atol=1e-10)
    # k3: the KL of each position the other way round, KL(reference ‖ policy), whose gradient by the logits is p − q.
    reached = torch.zeros(world.num_contexts, dtype=torch.float64)
    probabilities = world.seq_logps(logits).exp()
    for n, t in world.mask.nonzero().tolist():
        reached[world.contexts[n, t]] += probabilities[n]
    expected = reached.unsqueeze(-1) * (logits.softmax(-1) - world.ref_logits.softmax(-1))
    torch.testing.assert_close(kl_part["k3 as loss"], expected, rtol=0, atol=1e-10)


# --- where training ends --------------------------------------------------------------------------------------------


def final_distance(world: World, treatment: Treatment) -> float:
    logits = world.descend(lambda logits: world.expected_gradient(logits, treatment))
    return world.distance(logits, world.optimum(KL_COEF))


@worlds
@pytest.mark.parametrize("name", RIGHT)
def test_right_treatments_end_at_the_optimum(world: World, name: str) -> None:
    assert world.distance(world.ref_logits, world.optimum(KL_COEF)) > 0.1
    assert final_distance(world, RIGHT[name]) < 1e-3


@pytest.mark.parametrize("name", WRONG)
def test_wrong_treatments_end_elsewhere(name: str) -> None:
    treatment, distance = WRONG[name]
    assert final_distance(WORLDS["V=3, T=2"], treatment) == pytest.approx(distance, abs=0.002)
