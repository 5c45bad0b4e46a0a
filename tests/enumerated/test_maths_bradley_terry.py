"""Fits on exact preference probabilities: Bradley–Terry, and Davidson with ties, recover utilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor

from preflab.maths import bradley_terry as bt

UTILITIES = torch.tensor([-1.5, -0.4, 0.0, 0.3, 0.9, 2.0], dtype=torch.float64)
PAIRS = torch.tensor(list(combinations(range(len(UTILITIES)), 2)))
A, B = PAIRS.unbind(-1)


def fit(loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, float]:
    """Minimise loss(scores, tie parameter) over both; scores with mean 0, since a constant is free."""
    scores = torch.zeros_like(UTILITIES).requires_grad_()
    tie = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([scores, tie], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(scores, tie)
        value.backward()
        return value

    optimiser.step(closure)
    return (scores - scores.mean()).detach(), tie.item()


def assert_recovered(scores: Tensor) -> None:
    torch.testing.assert_close(scores, UTILITIES - UTILITIES.mean(), rtol=0, atol=1e-4)
    assert torch.corrcoef(torch.stack([scores, UTILITIES]))[0, 1] > 0.9999


def win_shares() -> Tensor:
    """(pairs,) P(a ≻ b) by the model's definition: strength over the sum of strengths."""
    strengths = UTILITIES.exp()
    return strengths[A] / (strengths[A] + strengths[B])


def test_bradley_terry_recovers_utilities_from_soft_labels() -> None:
    scores, _ = fit(lambda s, _: bt.bradley_terry_loss(s[A], s[B], labels=win_shares()))
    assert_recovered(scores)


def test_bradley_terry_recovers_utilities_from_both_orders_weighted() -> None:
    # Each pair twice, once in each order, weighing as much as it happens.
    chosen, rejected = torch.cat([A, B]), torch.cat([B, A])
    weights = torch.cat([win_shares(), 1 - win_shares()])
    scores, _ = fit(lambda s, _: bt.bradley_terry_loss(s[chosen], s[rejected], weights=weights))
    assert_recovered(scores)


def davidson_shares(nu: float) -> Tensor:
    """(pairs, 3) from strengths: a : ν√(ab) : b."""
    a, b = UTILITIES.exp()[A], UTILITIES.exp()[B]
    shares = torch.stack([a, nu * (a * b).sqrt(), b], dim=-1)
    return shares / shares.sum(-1, keepdim=True)


OUTCOMES = torch.tensor([bt.A_WINS, bt.TIE, bt.B_WINS]).repeat(len(PAIRS))
EACH_A, EACH_B = A.repeat_interleave(3), B.repeat_interleave(3)


def test_probabilities_are_those_of_the_strengths() -> None:
    torch.testing.assert_close(bt.preference_probability(UTILITIES[A], UTILITIES[B]), win_shares())
    for outcome in (bt.A_WINS, bt.TIE, bt.B_WINS):
        loss = bt.davidson_loss(UTILITIES[A], UTILITIES[B], torch.full_like(A, outcome), math.log(0.8))
        torch.testing.assert_close(loss, -davidson_shares(0.8)[:, outcome].log().mean())


def test_davidson_recovers_utilities_and_ties() -> None:
    weights = davidson_shares(0.8).flatten()
    scores, log_nu = fit(lambda s, nu: bt.davidson_loss(s[EACH_A], s[EACH_B], OUTCOMES, nu, weights=weights))
    assert_recovered(scores)
    assert log_nu == pytest.approx(math.log(0.8), abs=1e-4)


def fit_without_ties(shares: Tensor) -> Tensor:
    chosen, rejected = torch.cat([A, B]), torch.cat([B, A])
    weights = torch.cat([shares[:, bt.A_WINS], shares[:, bt.B_WINS]])
    scores, _ = fit(lambda s, _: bt.bradley_terry_loss(s[chosen], s[rejected], weights=weights))
    return scores


def test_dropping_ties_is_unbiased_under_davidson() -> None:
    assert_recovered(fit_without_ties(davidson_shares(0.8)))
