"""PPO's losses, entropy and explained variance by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from preflab.maths import losses

NAN = math.nan
LN2, LN3 = math.log(2), math.log(3)


def rows(*lists: list[float]) -> Tensor:
    return torch.tensor(lists, dtype=torch.float64)


# Ratios 2, 2, 1/2 and 1/2, 2, -: every side of the clip with every sign of the advantage. Clip 0.25 below, 0.5 above.
OLD_LOGPS = rows([-3 * LN2, -3 * LN2, -LN2], [-LN2, -1, NAN])
LOGPS = rows([-2 * LN2, -2 * LN2, -2 * LN2], [-2 * LN2, LN2 - 1, NAN])
ADVANTAGES = rows([1, -1, 1], [-1, 3, NAN])
MASK = torch.tensor([[True, True, True], [True, True, False]])


def policy_loss(logps: Tensor, denominator: float | None = None) -> losses.PolicyLoss:
    return losses.clipped_policy_loss(
        logps, OLD_LOGPS, ADVANTAGES, MASK, clip_low=0.25, clip_high=0.5, denominator=denominator
    )


def test_policy_loss() -> None:
    found = policy_loss(LOGPS)
    # ratio 2, A 1: max(−2, −1.5) = −1.5 clipped;   ratio 2, A −1: max(2, 1.5) = 2;   ratio ½, A 1: max(−.5, −.75) = −.5
    # ratio ½, A −1: max(.5, .75) = .75 clipped;    ratio 2, A 3: max(−6, −4.5) = −4.5 clipped.   Sum −3.75, 5 tokens.
    assert found.loss.item() == pytest.approx(-0.75, abs=1e-12)
    assert found.clip_fraction.item() == pytest.approx(3 / 5)
    # k3 = ratio − 1 − ln ratio: 1 − ln 2 three times, ln 2 − ½ twice: together 2 − ln 2.
    assert found.approx_kl.item() == pytest.approx((2 - LN2) / 5)
    assert found.max_ratio_deviation.item() == pytest.approx(1)


def test_policy_loss_divides_everything_by_the_given_denominator() -> None:
    found = policy_loss(LOGPS, denominator=10.0)
    assert found.loss.item() == pytest.approx(-0.375)
    assert found.clip_fraction.item() == pytest.approx(0.3)
    assert found.approx_kl.item() == pytest.approx((2 - LN2) / 10)
    assert found.max_ratio_deviation.item() == pytest.approx(1)


def test_policy_gradient_is_zero_where_clipped_and_ignores_nan() -> None:
    logps = LOGPS.clone().requires_grad_()
    policy_loss(logps).loss.backward()
    # Elsewhere d(−ratio·A)/d logp = −ratio·A: 2 at (2, −1), −½ at (½, 1); over 5.
    assert logps.grad is not None
    torch.testing.assert_close(logps.grad, rows([0, 0.4, -0.1], [0, 0, 0]))


def test_at_ratio_one_the_gradient_is_the_policy_gradient() -> None:
    logps = OLD_LOGPS.clone().requires_grad_()
    found = policy_loss(logps)
    found.loss.backward()
    # Loss −mean A = −(1 − 1 + 1 − 1 + 3)/5; gradient −A/5; nothing clipped, no distance.
    assert found.loss.item() == pytest.approx(-0.6)
    assert (found.clip_fraction.item(), found.approx_kl.item(), found.max_ratio_deviation.item()) == (0, 0, 0)
    assert logps.grad is not None
    torch.testing.assert_close(logps.grad, -torch.where(MASK, ADVANTAGES, 0) / 5)


def test_max_ratio_deviation_counts_ratios_below_one() -> None:
    # Ratios ½ and 5/4: deviations ½ and ¼; what is masked does not count.
    old_logps, logps = rows([-LN2, -LN3, 0]), rows([-2 * LN2, math.log(5 / 12), 9])
    mask = torch.tensor([[True, True, False]])
    found = losses.clipped_policy_loss(logps, old_logps, rows([1, 1, 1]), mask, clip_low=0.2, clip_high=0.2)
    assert found.max_ratio_deviation.item() == pytest.approx(0.5)


def test_policy_loss_has_gradient_for_logps_only() -> None:
    old_logps, advantages = OLD_LOGPS.clone().requires_grad_(), ADVANTAGES.clone().requires_grad_()
    logps = LOGPS.clone().requires_grad_()
    found = losses.clipped_policy_loss(logps, old_logps, advantages, MASK, clip_low=0.2, clip_high=0.2)
    found.loss.backward()
    assert old_logps.grad is None
    assert advantages.grad is None
    assert not found.approx_kl.requires_grad


def test_far_apart_logps_stay_finite() -> None:
    logps, old_logps = rows([-1.0, -2000.0]).requires_grad_(), rows([-2000.0, -1.0])
    mask = torch.ones(1, 2, dtype=torch.bool)
    found = losses.clipped_policy_loss(logps, old_logps, rows([-1.0, -1.0]), mask, clip_low=0.2, clip_high=0.2)
    found.loss.backward()
    # The log-ratio is held at ±20: losses e²⁰ and 0.8; beyond it there is no gradient.
    assert found.loss.item() == pytest.approx((math.exp(20) + 0.8) / 2)
    assert logps.grad is not None
    assert logps.grad.tolist() == [[0, 0]]


VALUES = rows([1.0, 0.5, 2.0], [0.125, 0.0, NAN])
OLD_VALUES = rows([0.5, 0.5, 1.0], [0.0, 0.0, NAN])
RETURNS = rows([1.0, 0.0, 2.5], [0.0, 2.0, NAN])


def test_value_loss() -> None:
    found = losses.clipped_value_loss(VALUES, OLD_VALUES, RETURNS, MASK, clip=0.25)
    # Values 1, ½, 2, ⅛, 0 clipped to ¾, ½, 1¼, ⅛, 0. Squared errors plain 0, ¼, ¼, 1/64, 4; clipped 1/16, ¼, 25/16,
    # 1/64, 4. The larger ones: (4 + 16 + 100 + 1 + 256)/64 = 377/64; half the mean 377/640. Clipped larger at 2 of 5.
    assert found.loss.item() == pytest.approx(377 / 640, abs=1e-12)
    assert found.clip_fraction.item() == pytest.approx(0.4)
    found = losses.clipped_value_loss(VALUES, OLD_VALUES, RETURNS, MASK, clip=0.25, denominator=10.0)
    assert found.loss.item() == pytest.approx(377 / 1280, abs=1e-12)
    assert found.clip_fraction.item() == pytest.approx(0.2)


def test_value_loss_without_clipping() -> None:
    found = losses.clipped_value_loss(VALUES, OLD_VALUES, RETURNS, MASK, clip=None)
    # (0 + 16 + 16 + 1 + 256)/64 = 289/64; half the mean: 289/640.
    assert found.loss.item() == pytest.approx(289 / 640, abs=1e-12)
    assert found.clip_fraction.item() == 0


def test_value_clipping_works_on_both_sides() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    found = losses.clipped_value_loss(rows([1.0, -1.0]), rows([0.0, 0.0]), rows([3.0, -3.0]), mask, clip=0.5)
    # Clipped to ½ and −½: errors 2.5² each, halved.
    assert found.loss.item() == pytest.approx(3.125)


def test_value_gradient() -> None:
    values = VALUES.clone().requires_grad_()
    old_values, returns = OLD_VALUES.clone().requires_grad_(), RETURNS.clone().requires_grad_()
    losses.clipped_value_loss(values, old_values, returns, MASK, clip=0.25).loss.backward()
    # Where the clipped side is larger there is none; elsewhere (value − return)/5, where the two sides agree as well.
    assert values.grad is not None
    torch.testing.assert_close(values.grad, rows([0, 0.1, 0], [0.025, -0.4, 0]))
    assert old_values.grad is None
    assert returns.grad is None


def test_nll_loss() -> None:
    logps = rows([-LN2, -3 * LN2, NAN]).requires_grad_()
    loss = losses.nll_loss(logps, MASK[1:])
    loss.backward()
    assert loss.item() == pytest.approx(2 * LN2)
    assert logps.grad is not None
    assert logps.grad.tolist() == [[-0.5, -0.5, 0]]
    assert losses.nll_loss(logps, MASK[1:], 8.0).item() == pytest.approx(LN2 / 2)


def test_explained_variance() -> None:
    returns = rows([1, 3, 5], [7, 9, NAN])
    # Returns: variance 8. Right up to a constant: 1. A constant: 0. Half the way: the rest has variance 2 → 1 − 2/8.
    assert losses.explained_variance(returns + 1, returns, MASK).item() == pytest.approx(1)
    assert losses.explained_variance(torch.zeros_like(returns), returns, MASK).item() == pytest.approx(0)
    assert losses.explained_variance(returns / 2, returns, MASK).item() == pytest.approx(0.75)
    # The wrong way round: returns − (−returns) has variance 32 → 1 − 4.
    assert losses.explained_variance(-returns, returns, MASK).item() == pytest.approx(-3)
    assert losses.explained_variance(returns, torch.ones_like(returns), MASK).item() == 0
    assert losses.explained_variance(returns, torch.full_like(returns, 0.1), MASK).item() == 0, (
        "rounding is no variance"
    )


@pytest.mark.parametrize(("variance", "explained"), [(4.0, 1), (0.5, 0)])
def test_returns_that_differ_by_rounding_alone_explain_nothing(variance: float, explained: float) -> None:
    """Four returns of mean 10⁶: their mean square is 10¹², so that a variance below 1 may be rounding."""
    sums = torch.tensor([[4, 0, 0], [4, 4e6, 4 * (1e12 + variance)]], dtype=torch.float64)
    assert losses.explained_variance(MASK, MASK, MASK, sums=sums).item() == explained


def test_returns_of_zero_explain_nothing() -> None:
    assert losses.explained_variance(VALUES, torch.zeros_like(RETURNS), MASK).item() == 0


def test_explained_variance_of_parts() -> None:
    returns = rows([1, 3, 5], [7, 9, NAN])
    parts = [losses.residual_sums(returns[b : b + 1] / 2, returns[b : b + 1], MASK[b : b + 1]) for b in range(2)]
    # The first row alone explains 3/4 too; its sums are what is added: half of 1, 3, 5 and its squares.
    assert parts[0].tolist() == [[3, 4.5, 8.75], [3, 9, 35]]
    whole = losses.explained_variance(returns[:1], returns[:1], MASK[:1], sums=parts[0] + parts[1])
    assert whole.item() == pytest.approx(0.75)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        losses.clipped_policy_loss(LOGPS, OLD_LOGPS, ADVANTAGES[:, 0], MASK, clip_low=0.2, clip_high=0.2)
