"""PPO's advantages and updates on numbers worked out here: whitening, clip sides, denominators, the entropy bonus."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from paper_trunk import PaperAccelerator, PaperTrunk, Rows, rollouts_on_paper
from preflab.policy.ppo import PpoRun, advantages, policy_loss, update, value_loss
from preflab.policy.step_statistics import LearningBatch, add_statistics, step_statistics
from preflab.settings.ppo import PpoSettings
from preflab.training.processes import make_accelerator
from preflab.training.rollouts import Rollouts


def run_on_paper(trunk: PaperTrunk, **changes: object) -> PpoRun:
    """A run that is asked for single parts of a step; `changes` are settings."""
    values: dict[str, object] = {"model": "m", "prompts": "p", "rewards": [{"function": "a:b"}], **changes}
    settings = PpoSettings.model_validate({"num_completions_per_step": len(trunk.logps), **values})
    nothing: Any = None
    accelerator = make_accelerator(cpu=True)
    return PpoRun(trunk, settings, [], nothing, nothing, nothing, Path(), seed=0, accelerator=accelerator)  # type: ignore[arg-type]


def learning_batch(rollouts: Rollouts, weights: Rows) -> LearningBatch:
    """These advantages; returns 1 above the old values of 0."""
    advantages = torch.tensor(weights)
    return LearningBatch(advantages, torch.ones_like(rollouts.values), advantages, advantage_scale=1.0)


@pytest.mark.parametrize(("form", "whitened_rewards"), [("scale", (1.5, -0.5)), ("published", (2.0, 0.0))])
@pytest.mark.parametrize("whiten_advantages", [True, False])
def test_advantage_scale_is_the_product_of_both_whitenings(
    form: str, whitened_rewards: tuple[float, float], whiten_advantages: bool
) -> None:
    """Rewards 3 and −1: mean 1, deviation 2. Halved they are 1.5 and −0.5; less 1, halved and 1 again, 2 and 0.

    Old values −1 and 1 make of them raw advantages of deviation 2: 2.5 and −1.5, or 3 and −1.
    """
    run = run_on_paper(
        PaperTrunk([[0.0]] * 2), whiten_rewards=form, whiten_advantages=whiten_advantages, kl_treatment="exact"
    )
    rollouts = rollouts_on_paper([[-1.0]] * 2)
    rollouts.values = torch.tensor([[-1.0], [1.0]])
    batch = advantages(run, rollouts, torch.tensor([3.0, -1.0]), kl_coef=0.1)
    raw = [whitened_rewards[0] + 1, whitened_rewards[1] - 1]
    assert batch.raw_advantages.flatten().tolist() == pytest.approx(raw)
    assert batch.returns.flatten().tolist() == pytest.approx(list(whitened_rewards)), "of raw advantages"
    assert batch.advantages.flatten().tolist() == pytest.approx([1, -1] if whiten_advantages else raw)
    assert batch.advantage_scale == pytest.approx(1 / 4 if whiten_advantages else 1 / 2)


class OtherMoments(PaperAccelerator):
    """A process of two, of which the other one holds these moments, one after the other."""

    def __init__(self, moments: list[list[float]]) -> None:
        super().__init__()
        self.moments = moments

    def reduce(self, values: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        assert reduction == "sum"
        return values + torch.tensor(self.moments.pop(0), dtype=values.dtype)


@pytest.mark.parametrize(
    ("form", "rewards", "other"), [("scale", [0.75, -0.25], [2, 0.5, 3.625]), ("published", [1.5, 0.5], [2, 2, 5.5])]
)
def test_whitening_is_over_the_batches_of_all_processes(form: str, rewards: list[float], other: list[float]) -> None:
    """Rewards 3 and −1 here; two more with a sum of 2 and squares of 58: mean 4/4, variance 68/4 − 1 = 16.

    The other's advantages make the mean ¼ or 1, and the variance 4.25/4 − 1/16 or 8/4 − 1, which is 1.
    """
    run = run_on_paper(PaperTrunk([[0.0]] * 2), whiten_rewards=form, whiten_advantages=True, kl_treatment="exact")
    run.accelerator = OtherMoments([[2, 2, 58], other])
    batch = advantages(run, rollouts_on_paper([[-1.0]] * 2), torch.tensor([3.0, -1.0]), kl_coef=0.1)
    assert batch.raw_advantages.flatten().tolist() == pytest.approx(rewards)
    assert batch.advantages.flatten().tolist() == pytest.approx([0.5, -0.5])
    assert batch.advantage_scale == pytest.approx(1 / 4)


@pytest.mark.parametrize("bootstrap", [True, False])
def test_advantages_with_a_discount_and_the_kl_in_the_reward(bootstrap: bool) -> None:
    """Log-ratios 1, 0 and 2 cost a half each: rewards −½, 3 and −1. Values 1, 2 and 1; γ = λ = ½.

    Backwards: 3 − 2 = 1, then −½ + ½ · 2 − 1 = −½ and ¼ of 1 more. The cut one: −1 − 1, and half of the value 4 after
    its last token where it goes on. A whole completion is over whatever value stands after it.
    """
    run = run_on_paper(
        PaperTrunk([[0.0, 0.0]] * 2), gamma=0.5, lam=0.5, whiten_advantages=False, bootstrap_truncated=bootstrap
    )
    rollouts = rollouts_on_paper([[-1.0, -2.0], [-1.0]])
    rollouts.ref_logps = torch.tensor([[-2.0, -2.0], [-3.0, 9.0]])
    rollouts.values = torch.tensor([[1.0, 2.0], [1.0, 9.0]])
    rollouts.last_values, rollouts.terminal = torch.tensor([9.0, 4.0]), torch.tensor([True, False])
    batch = advantages(run, rollouts, torch.tensor([3.0, 0.0]), kl_coef=0.5)
    last = 0.0 if bootstrap else -2.0
    assert batch.advantages.flatten().tolist() == pytest.approx([-0.25, 1.0, last, 0.0])
    assert batch.returns.flatten().tolist() == pytest.approx([0.75, 3.0, last + 1, 0.0])
    assert batch.advantage_scale == 1.0
    assert torch.equal(batch.raw_advantages, batch.advantages)


def test_scaled_rewards_do_not_pay_for_length() -> None:
    """Two completions of score 5, one of 2 tokens, one of 10: mean 5/6, variance 50/12 − 25/36 = 125/36.

    Their rewards sum to 5 · 6/√125. As published, every token has mean · (1 − 6/√125) more.
    """
    rollouts = rollouts_on_paper([[0.0] * 2, [0.0] * 10])
    scaled = 30 / math.sqrt(125)
    shift = 5 / 6 * (1 - 6 / math.sqrt(125))
    for form, sums in {"scale": [scaled, scaled], "published": [scaled + 2 * shift, scaled + 10 * shift]}.items():
        trunk = PaperTrunk([[0.0] * 10] * 2)
        run = run_on_paper(trunk, whiten_rewards=form, whiten_advantages=False, kl_treatment="exact", lam=1.0)
        batch = advantages(run, rollouts, torch.tensor([5.0, 5.0]), kl_coef=0.0)
        assert batch.returns[:, 0].tolist() == pytest.approx(sums), "the sum of all rewards, with values of 0"
    assert sums == pytest.approx([3.455, 6.544], abs=1e-3), "of the published form"


def test_whitening_true_is_refused_with_both_names() -> None:
    with pytest.raises(ValueError, match=r"scale .* or published"):
        PpoSettings(model="m", prompts="p", rewards=[{"function": "a:b"}], whiten_rewards=True)  # type: ignore[arg-type]


RATIOS = [1.3, 1.6, 0.85, 0.95]
ADVANTAGES = [[1.0], [1.0], [-1.0], [-1.0]]


def test_clip_sides_are_those_of_the_settings() -> None:
    """clip_low 0.1, clip_high 0.5: A > 0 counts up to 1.5, A < 0 down to 0.9.

    Terms −1.3, −1.5 (clipped), 0.9 (clipped), 0.95: −0.95 in all, over 4 tokens.
    """
    trunk = PaperTrunk([[math.log(ratio)] for ratio in RATIOS])
    run = run_on_paper(trunk, clip_low=0.1, clip_high=0.5)
    rollouts = rollouts_on_paper([[0.0]] * 4)
    batch = learning_batch(rollouts, ADVANTAGES)
    loss, statistics = policy_loss(run, trunk, rollouts, batch, [0, 1, 2, 3], 4.0, 0.0)
    loss.backward()
    assert loss.item() == pytest.approx(-0.95 / 4)
    assert statistics["clip/policy"] == 0.5
    assert trunk.logps.grad is not None
    assert trunk.logps.grad.flatten().tolist() == pytest.approx([-1.3 / 4, 0, 0, 0.95 / 4])


def test_entropy_bonus_has_a_gradient() -> None:
    """Of 0.5 · mean entropy over 4 tokens, negated; without a bonus the entropy is only logged."""
    for coefficient, slope in ((0.5, -0.5 / 4), (0.0, 0.0)):
        trunk = PaperTrunk([[-1.0, -1.0]] * 2)
        rollouts = rollouts_on_paper([[-1.0, -1.0]] * 2)
        batch = learning_batch(rollouts, [[0.0, 0.0]] * 2)
        run = run_on_paper(trunk, entropy_coef=coefficient)
        loss, statistics = policy_loss(run, trunk, rollouts, batch, [0, 1], 4.0, 0.0)
        loss.backward()
        assert statistics["entropy/mean"] == 1.0
        gradient = torch.zeros(2, 2) if trunk.entropy.grad is None else trunk.entropy.grad
        assert gradient.tolist() == [[slope, slope]] * 2


@pytest.mark.parametrize("tokens_per_micro_batch", [4096, 3])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_update_divides_by_the_tokens_of_its_own_minibatch(tokens_per_micro_batch: int, num_processes: int) -> None:
    """Four completions of two tokens in two minibatches: each token is one of 4, not of 8, also in micro-batches.

    Advantages 1 and ratios 1: the slope of each log-probability is −1/4. Values 0, returns 1, value_coef 0.2: −0.2/4.
    A second process with the same numbers changes none; gradients are shared after the last micro-batch of each role.
    """
    trunk = PaperTrunk([[-1.0, -1.0]] * 4)
    rollouts = rollouts_on_paper([[-1.0, -1.0]] * 4)
    optimiser = {"max_grad_norm": 1e6, "tokens_per_micro_batch": tokens_per_micro_batch}
    run = run_on_paper(trunk, num_epochs=1, num_minibatches=2, value_coef=0.2, value_clip=None, optimiser=optimiser)
    if num_processes == 2:
        run.accelerator = PaperAccelerator()
    descent = torch.optim.SGD([trunk.logps, trunk.values], lr=1.0)
    batch = learning_batch(rollouts, [[1.0, 1.0]] * 4)
    statistics = update(run, trunk, descent, rollouts, batch, step=0, kl_coef=0.0)
    torch.testing.assert_close(trunk.logps, torch.full((4, 2), -0.75))
    torch.testing.assert_close(trunk.values, torch.full((4, 2), 0.05))
    # Means of both updates: −1 · 4/4 for the policy, ½ · 4/4 for the values.
    assert statistics["loss/policy"] == pytest.approx(-1)
    assert statistics["loss/value"] == pytest.approx(0.5)
    assert statistics["loss/total"] == pytest.approx(-1 + 0.2 * 0.5)
    assert statistics["num/updates"] == 2
    if num_processes == 2:
        assert run.accelerator.shared == ([True] * 4 if tokens_per_micro_batch == 4096 else [False, True] * 4)


def test_metrics_of_a_step_are_means_over_its_updates() -> None:
    """Micro-batches of a minibatch add up, updates are averaged; of the ratio's deviation the largest and the first."""
    first: dict[str, float] = {}
    for statistics in (
        {"loss/policy": 1.0, "ratio/max_deviation": 0.25},
        {"loss/policy": 2.0, "ratio/max_deviation": 0.125},
    ):
        add_statistics(first, statistics)
    assert first == {"loss/policy": 3.0, "ratio/max_deviation": 0.25}
    second, third = ({"loss/policy": loss, "ratio/max_deviation": size} for loss, size in ((5.0, 0.5), (4.0, 0.125)))
    assert step_statistics([first, second, third]) == {
        "loss/policy": 4.0,
        "ratio/max_deviation": 0.5,
        "ratio/first_deviation": 0.25,
        "num/updates": 3,
    }


@pytest.mark.parametrize(("rows", "num_tokens"), [([0, 1], 1), ([2, 3], 4)])
@pytest.mark.parametrize("treatment", ["reward_k1", "sequence_loss", "exact"])
def test_parts_of_a_step_are_as_wide_as_their_own_completions(rows: list[int], num_tokens: int, treatment: str) -> None:
    """Two completions of one token, two of four, log-ratios ½ to the old policy and the reference; exact KL ¼.

    The sequence loss has half of the squared log-ratio of a whole completion, over its share of the tokens.
    """
    trunk = PaperTrunk([[-0.5] * 4] * 4)
    with torch.no_grad():
        trunk.kl.fill_(0.25)
    rollouts = rollouts_on_paper([[-1.0], [-1.0], [-1.0] * 4, [-1.0] * 4])
    rollouts.ref_logps = torch.where(rollouts.completion_mask, -1.0, 0.0)
    once = {"num_epochs": 1, "num_minibatches": 1}
    run = run_on_paper(trunk, kl_treatment=treatment, entropy_coef=0.5, value_coef=0.5, value_clip=None, **once)
    batch = LearningBatch(-torch.ones(4, 4), torch.full((4, 4), 2.0), -torch.ones(4, 4), advantage_scale=3.0)
    loss, figures = policy_loss(run, trunk, rollouts, batch, rows, 2.0 * num_tokens, 0.5)
    kl = {"reward_k1": 0.0, "sequence_loss": 0.5 * (0.5 * num_tokens) ** 2 / num_tokens, "exact": 0.25}[treatment]
    assert figures["loss/policy"] == pytest.approx(math.exp(0.5))
    assert figures.get("loss/kl", 0.0) == pytest.approx(kl)
    assert loss.item() == pytest.approx(math.exp(0.5) - 0.5 + 0.5 * 3 * kl)
    value, metrics = value_loss(run, trunk, rollouts, batch, rows, 2.0 * num_tokens, 0.5)
    assert metrics["loss/value"] == pytest.approx(0.5 * 2.0**2)
    assert value.item() == pytest.approx(0.5 * 0.5 * 2.0**2)
