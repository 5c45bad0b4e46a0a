"""KL estimators, the three treatments and the controllers by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from preflab.maths import kl

NAN = math.nan
LN2, LN3 = math.log(2), math.log(3)


def rows(*lists: list[float]) -> Tensor:
    return torch.tensor(lists, dtype=torch.float64)


# Probabilities under the policy 1/2, 1/8, 1/4; under the reference 1/4, 1/4, 1/4: log-ratios ln 2, −ln 2, 0.
LOGPS = rows([-LN2, -3 * LN2, -2 * LN2], [-2 * LN2, NAN, NAN])
REF_LOGPS = rows([-2 * LN2, -2 * LN2, -2 * LN2], [-5 * LN2, NAN, NAN])
MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_estimators_per_token() -> None:
    logps, ref_logps = LOGPS[:1], REF_LOGPS[:1]
    torch.testing.assert_close(kl.kl_policy_ref_k1(logps, ref_logps), rows([LN2, -LN2, 0]))
    # k3 = q/p − 1 − log(q/p): 1/2 − 1 + ln 2 and 2 − 1 − ln 2.
    torch.testing.assert_close(kl.kl_policy_ref_k3(logps, ref_logps), rows([LN2 - 0.5, 1 - LN2, 0]))


def test_kl_rewards_k1() -> None:
    logps = LOGPS.clone().requires_grad_()
    found = kl.kl_rewards_k1(logps, REF_LOGPS, MASK, 0.1)
    # The policy pays where it is likelier than the reference: log-ratios ln 2, −ln 2, 0 and 3 ln 2.
    torch.testing.assert_close(found, rows([-0.1 * LN2, 0.1 * LN2, 0], [-0.3 * LN2, 0, 0]))
    assert not found.requires_grad


def test_sequence_kl_loss() -> None:
    ref_logps = rows([-4 * LN2, -2 * LN2, -2 * LN2], [-5 * LN2, NAN, NAN])
    logps = LOGPS.clone().requires_grad_()
    loss = kl.sequence_kl_loss(logps, ref_logps, MASK)
    loss.backward()
    # Log-ratios 3 ln 2, −ln 2, 0: sum 2 ln 2, half its square 2 ln²2. The other sequence: 3 ln 2 → 4.5 ln²2. Mean 3.25
    # ln²2.
    assert loss.item() == pytest.approx(3.25 * LN2**2, abs=1e-12)
    # Gradient: a sequence's whole log-ratio at each of its tokens, over 2 sequences.
    assert logps.grad is not None
    torch.testing.assert_close(logps.grad, rows([LN2, LN2, LN2], [1.5 * LN2, 0, 0]))
    assert kl.sequence_kl_loss(LOGPS, ref_logps, MASK, 13.0).item() == pytest.approx(0.5 * LN2**2)


def test_sequence_kl_loss_ignores_sequences_without_tokens() -> None:
    mask = torch.tensor([[True, True, True], [False, False, False]])
    # Only the first sequence: log-ratios add up to 0 there, so shift its first one by ln 2: ½ ln²2.
    ref_logps = REF_LOGPS - LN2 * torch.tensor([1.0, 0, 0], dtype=torch.float64)
    assert kl.sequence_kl_loss(LOGPS, ref_logps, mask).item() == pytest.approx(LN2**2 / 2)


def test_kl_rewards_exact_later_moves_each_kl_one_token_back() -> None:
    exact = rows([0.5, 0.25, 1.0, NAN], [2.0, NAN, NAN, 4.0]).requires_grad_()
    mask = torch.tensor([[True, True, True, False], [True, False, False, True]])
    found = kl.kl_rewards_exact_later(exact, mask, 0.1)
    # Token 0 pays for position 1, token 1 for position 2, the last for nothing; places of others are stepped over.
    torch.testing.assert_close(found, rows([-0.025, -0.1, 0, 0], [-0.4, 0, 0, 0]))
    assert not found.requires_grad


def test_exact_kl_loss() -> None:
    exact = rows([0.5, 0.25, NAN], [2.25, NAN, NAN]).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    loss = kl.exact_kl_loss(exact, mask)
    loss.backward()
    assert loss.item() == 1.0  # 3 / 3
    assert exact.grad is not None
    torch.testing.assert_close(exact.grad, rows([1 / 3, 1 / 3, 0], [1 / 3, 0, 0]))
    assert kl.exact_kl_loss(exact, mask, 6.0).item() == 0.5


def test_adaptive_controller() -> None:
    controller = kl.AdaptiveKLController(0.1, target=5.0, horizon=1000)
    # 5.5 / 5 − 1 = 0.1; times 100 / 1000: ·1.01.
    controller.update(5.5, 100)
    assert controller.kl_coef == pytest.approx(0.101)
    # Far above: the error is held at 0.2 → ·1.02. Far below: −0.2 → ·0.98.
    controller.update(500.0, 100)
    assert controller.kl_coef == pytest.approx(0.101 * 1.02)
    controller.update(0.0, 100)
    assert controller.kl_coef == pytest.approx(0.101 * 1.02 * 0.98)
    # On target nothing moves.
    controller.update(5.0, 100)
    assert controller.kl_coef == pytest.approx(0.101 * 1.02 * 0.98)


def test_horizon_of_one_completion_is_allowed() -> None:
    """KL twice the target: the error is cut to 0.2, and one completion is all of the horizon."""
    controller = kl.AdaptiveKLController(0.1, target=1.0, horizon=1.0)
    controller.update(2.0, 1)
    assert controller.kl_coef == pytest.approx(0.12)


def test_controllers_resume_where_they_were() -> None:
    first = kl.AdaptiveKLController(0.1, target=5.0, horizon=1000)
    first.update(6.0, 64)
    second = kl.AdaptiveKLController(0.1, target=5.0, horizon=1000)
    second.load_state_dict(first.state_dict())
    first.update(4.0, 64)
    second.update(4.0, 64)
    assert first.kl_coef == second.kl_coef != 0.1
    fixed = kl.FixedKLController(0.3)
    fixed.update(100.0, 64)
    other = kl.FixedKLController(0.1)
    other.load_state_dict(fixed.state_dict())
    assert other.kl_coef == 0.3


def test_adaptive_controller_refuses_nan_and_zero_settings() -> None:
    controller = kl.AdaptiveKLController(0.1, target=5.0, horizon=1000)
    with pytest.raises(ValueError, match="finite"):
        controller.update(NAN, 64)
    assert controller.kl_coef == 0.1
    for target, horizon in ((0.0, 1000), (5.0, 0)):
        with pytest.raises(ValueError, match="above 0"):
            kl.AdaptiveKLController(0.1, target=target, horizon=horizon)
