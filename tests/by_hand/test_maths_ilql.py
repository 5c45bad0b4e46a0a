"""The mathematics of implicit language Q-learning by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from preflab.maths import ilql

NAN = math.nan


def rows(*lists: list[float]) -> Tensor:
    return torch.tensor(lists, dtype=torch.float64)


# Two completions of 3 and 2 tokens; the second token of the first was not written by the policy.
MASK = torch.tensor([[True, False, True], [True, True, False]])


def test_q_targets_add_the_discounted_value_of_the_next_token_of_the_policy() -> None:
    rewards, values = rows([1, NAN, 5], [0, -2, NAN]), rows([10, NAN, 4], [20, 6, NAN])
    targets = ilql.q_targets(rewards, values, MASK, gamma=0.5)
    # 1 + ½·4 (over the foreign token), 5 + 0 at the end;  0 + ½·6, −2 + 0 at the end.
    torch.testing.assert_close(targets, rows([3, 0, 5], [3, -2, 0]))


def test_q_targets_carry_no_gradient() -> None:
    values = rows([1, 2, 3], [4, 5, 6]).requires_grad_()
    assert not ilql.q_targets(torch.zeros(2, 3, dtype=torch.float64), values, MASK, gamma=1.0).requires_grad


def test_q_loss_and_its_gradient() -> None:
    action_values = rows([4, NAN, 5], [1, -2, NAN]).requires_grad_()
    loss = ilql.q_loss(action_values, rows([3, NAN, 5], [3, -2, NAN]), MASK)
    assert loss.item() == pytest.approx((1 + 0 + 4 + 0) / 4)
    loss.backward()
    # 2 · (Q − target) / 4
    torch.testing.assert_close(action_values.grad, rows([0.5, 0, 0], [-1, 0, 0]))
    assert ilql.q_loss(action_values, rows([3, NAN, 5], [3, -2, NAN]), MASK, 10.0).item() == pytest.approx(0.5)


def test_expectile_loss_weighs_q_above_v_with_tau() -> None:
    values = rows([1, NAN, 1], [1, 1, NAN]).requires_grad_()
    loss = ilql.expectile_loss(values, rows([3, NAN, 0], [1, 2, NAN]), MASK, tau=0.9)
    # Errors Q − V: 2, −1, 0, 1. Weights 0.9, 0.1, any, 0.9: 3.6 + 0.1 + 0 + 0.9 over 4. With 1 − tau: 0.4 + 0.9 + 0.1.
    assert loss.item() == pytest.approx(4.6 / 4)
    loss.backward()
    # −2 · weight · error / 4: V is pulled up by Q above it, nine times as strongly as down.
    torch.testing.assert_close(values.grad, rows([-0.9, 0, 0.05], [0, -0.45, 0]))


def test_expectile_loss_has_no_gradient_into_q() -> None:
    action_values = rows([3, 0, 0], [1, 2, 0]).requires_grad_()
    assert not ilql.expectile_loss(torch.zeros(2, 3, dtype=torch.float64), action_values, MASK, tau=0.5).requires_grad


@pytest.mark.parametrize(("tau", "minimiser"), [(0.5, 1.0), (0.75, 2.0), (0.25, 0.4)])
def test_expectile_of_two_numbers(tau: float, minimiser: float) -> None:
    """Of 0 three times and 4 once: tau · (4 − v) = 3 · (1 − tau) · v, so v = 4 tau / (3 − 2 tau)."""
    assert minimiser == pytest.approx(4 * tau / (3 - 2 * tau))
    values = torch.tensor([[minimiser] * 4], dtype=torch.float64, requires_grad=True)
    loss = ilql.expectile_loss(values, rows([0, 0, 0, 4]), torch.ones(1, 4, dtype=torch.bool), tau=tau)
    loss.backward()
    assert values.grad is not None
    assert values.grad.sum().item() == pytest.approx(0, abs=1e-12)


def test_reweighted_logps() -> None:
    """π_ref (½, ½), Q (ln 3, 0): weights 3 : 1 at beta 1, 9 : 1 at beta 2; a flipped sign would give 1 : 3."""
    ref_logps, q = torch.full((1, 2), math.log(0.5)), torch.tensor([[math.log(3), 0.0]])
    for beta, share in ((0.0, 1 / 2), (1.0, 3 / 4), (2.0, 9 / 10)):
        logps = ilql.reweighted_logps(ref_logps, q, torch.tensor([0.7]), beta=beta)
        torch.testing.assert_close(logps.exp(), torch.tensor([[share, 1 - share]]))


def test_reweighted_logps_start_from_the_reference() -> None:
    """π_ref (¼, ¾) and weights 3 : 1 give 3 : 3; V cancels."""
    ref_logps, q = torch.tensor([[0.25, 0.75]]).log(), torch.tensor([[math.log(3), 0.0]])
    for value in (0.0, -5.0):
        logps = ilql.reweighted_logps(ref_logps, q, torch.tensor([value]), beta=1.0)
        torch.testing.assert_close(logps.exp(), torch.tensor([[0.5, 0.5]]))
