"""Bradley–Terry and Davidson by hand, at differences whose exponentials are whole numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from preflab.maths import bradley_terry as bt

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)


def doubles(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_preference_probability() -> None:
    # σ(ln 3) = 3/(3 + 1); only the difference counts; who comes first decides the sign.
    found = bt.preference_probability(doubles(LN3, 5 + LN3, 0, 7), doubles(0, 5, LN3, 7))
    torch.testing.assert_close(found, doubles(0.75, 0.75, 0.25, 0.5))


def test_loss_is_the_mean_negative_log_likelihood() -> None:
    # Differences 0, ln 3, −ln 3: probabilities 1/2, 3/4, 1/4; −logs: ln 2, ln 4 − ln 3, ln 4.
    loss = bt.bradley_terry_loss(doubles(1, LN3, 0), doubles(1, 0, LN3))
    assert loss.item() == pytest.approx((LN2 + (LN4 - LN3) + LN4) / 3, abs=1e-12)


def test_soft_labels() -> None:
    # P = 3/4 and label 0.9: −0.9 ln(3/4) − 0.1 ln(1/4) = ln 4 − 0.9 ln 3.
    loss = bt.bradley_terry_loss(doubles(LN3), doubles(0), labels=doubles(0.9))
    assert loss.item() == pytest.approx(LN4 - 0.9 * LN3, abs=1e-12)
    # Label 0 is the pair the other way round: −ln(1/4).
    loss = bt.bradley_terry_loss(doubles(LN3), doubles(0), labels=doubles(0))
    assert loss.item() == pytest.approx(LN4, abs=1e-12)


def test_margin_is_subtracted_from_the_difference() -> None:
    # Difference ln 3 with margin ln 3 is as good as equal: ln 2. With margin −ln 3 it is ln 9: −ln(9/10).
    assert bt.bradley_terry_loss(doubles(LN3), doubles(0), margins=doubles(LN3)).item() == pytest.approx(LN2)
    loss = bt.bradley_terry_loss(doubles(LN3), doubles(0), margins=doubles(-LN3))
    assert loss.item() == pytest.approx(math.log(10 / 9))


def test_weights_and_denominator() -> None:
    # Losses ln 2 and ln 4 = 2 ln 2 with weights 1 and 1/2: sum 2 ln 2; divided by 1.5, or by 10 where that is handed
    # in.
    chosen, rejected, weights = doubles(0, 0), doubles(0, LN3), doubles(1, 0.5)
    assert bt.bradley_terry_loss(chosen, rejected, weights=weights).item() == pytest.approx(2 * LN2 / 1.5)
    loss = bt.bradley_terry_loss(chosen, rejected, weights=weights, denominator=10.0)
    assert loss.item() == pytest.approx(0.2 * LN2)


def test_gradient_pulls_the_pair_apart() -> None:
    chosen, rejected = doubles(LN3).requires_grad_(), doubles(0).requires_grad_()
    bt.bradley_terry_loss(chosen, rejected).backward()
    # d(−log σ(d))/dd = σ(d) − 1 = −1/4: descent raises the chosen and lowers the rejected.
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.25)
    assert rejected.grad.item() == pytest.approx(0.25)


def test_a_pair_of_weight_zero_may_be_nan() -> None:
    chosen = doubles(0, math.nan).requires_grad_()
    loss = bt.bradley_terry_loss(chosen, doubles(0, 0), weights=doubles(1, 0))
    loss.backward()
    assert loss.item() == pytest.approx(LN2)
    assert chosen.grad is not None
    assert chosen.grad.tolist() == [-0.5, 0]


def test_far_apart_scores_stay_finite() -> None:
    # −log σ(−1000) = 1000 and −log σ(1000) = 0.
    assert bt.bradley_terry_loss(doubles(-1000), doubles(0)).item() == pytest.approx(1000)
    assert bt.bradley_terry_loss(doubles(1000), doubles(0)).item() == 0


def test_davidson_loss() -> None:
    scores_a, scores_b = doubles(LN4, LN4, LN4), doubles(0, 0, 0)
    outcomes = torch.tensor([bt.A_WINS, bt.TIE, bt.B_WINS])
    # −ln(4/7), −ln(2/7), −ln(1/7): together 3 ln 7 − 3 ln 2.
    loss = bt.davidson_loss(scores_a, scores_b, outcomes, 0.0)
    assert loss.item() == pytest.approx(math.log(7) - LN2)
    # Weights 0, 0, 2 leave b's win alone; denominator 4 halves it.
    weights = doubles(0, 0, 2)
    assert bt.davidson_loss(scores_a, scores_b, outcomes, 0.0, weights=weights).item() == pytest.approx(math.log(7))
    loss = bt.davidson_loss(scores_a, scores_b, outcomes, 0.0, weights=weights, denominator=4.0)
    assert loss.item() == pytest.approx(math.log(7) / 2)


def test_davidson_learns_its_tie_parameter() -> None:
    log_nu = doubles(0)[0].requires_grad_()
    bt.davidson_loss(doubles(LN4), doubles(0), torch.tensor([bt.TIE]), log_nu).backward()
    # d(−log P_tie)/d log ν = P_tie − 1 = −5/7: a tie asks for more ties.
    assert log_nu.grad is not None
    assert log_nu.grad.item() == pytest.approx(-5 / 7)


def test_davidson_with_more_ties_by_hand() -> None:
    """Strengths 4 and 1, ν = 2: a : tie : b = 4 : 4 : 1, and the other way round for the reverse pair."""
    for outcome, turned, share in ((bt.A_WINS, bt.B_WINS, 4), (bt.TIE, bt.TIE, 4), (bt.B_WINS, bt.A_WINS, 1)):
        loss = bt.davidson_loss(doubles(LN4), doubles(0), torch.tensor([outcome]), LN2)
        assert loss.item() == pytest.approx(math.log(9 / share))
        loss = bt.davidson_loss(doubles(0), doubles(LN4), torch.tensor([turned]), LN2)
        assert loss.item() == pytest.approx(math.log(9 / share))


def test_davidson_takes_a_number_as_exactly_as_a_tensor() -> None:
    """0.1 in single precision differs from 0.1 in the ninth digit."""
    number, tensor = (
        bt.davidson_loss(doubles(1), doubles(0), torch.tensor([bt.TIE]), log_nu) for log_nu in (0.1, doubles(0.1)[0])
    )
    torch.testing.assert_close(number, tensor, rtol=1e-14, atol=0)


def test_a_tie_pair_of_weight_zero_may_be_nan() -> None:
    scores = doubles(LN4, math.nan).requires_grad_()
    value = bt.davidson_loss(scores, doubles(0, 0), torch.tensor([bt.A_WINS, bt.TIE]), LN2, weights=doubles(1, 0))
    value.backward()
    assert math.isfinite(value.item())
    assert scores.grad is not None
    assert scores.grad[0] < 0
    assert scores.grad[1] == 0
