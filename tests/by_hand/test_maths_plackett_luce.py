"""Plackett–Luce by hand, with strengths 1, 2 and 3, and ties against every order written out."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from preflab.maths import plackett_luce
from preflab.maths.bradley_terry import bradley_terry_loss
from preflab.maths.plackett_luce import plackett_luce_log_likelihood

STRENGTHS = (1.0, 2.0, 3.0)


def logs(*strengths: float) -> Tensor:
    return torch.tensor([math.log(s) for s in strengths], dtype=torch.float64)


def strict(strengths: tuple[float, ...], order: tuple[int, ...]) -> float:
    """P(order) by the definition, in plain numbers."""
    probability, left = 1.0, list(order)
    for i in order:
        probability *= strengths[i] / sum(strengths[j] for j in left)
        left.remove(i)
    return probability


def test_strict_order() -> None:
    # Third first (3/6), then the second of the two left (2/3): 1/3.
    found = plackett_luce_log_likelihood(logs(*STRENGTHS), (3, 2, 1))
    assert found.item() == pytest.approx(math.log(1 / 3), abs=1e-12)
    # The other way round: 1/6 · 2/5.
    found = plackett_luce_log_likelihood(logs(*STRENGTHS), (1, 2, 3))
    assert found.item() == pytest.approx(math.log(1 / 15), abs=1e-12)


def test_a_tie_for_the_first_place() -> None:
    # {1, 2} before 3 in either order: 1/6 · 2/5 + 2/6 · 1/4 = 1/15 + 1/12 = 3/20.
    found = plackett_luce_log_likelihood(logs(*STRENGTHS), (1, 1, 2))
    assert found.item() == pytest.approx(math.log(3 / 20), abs=1e-12)


def test_a_tie_for_the_last_place_leaves_only_the_first_choice() -> None:
    found = plackett_luce_log_likelihood(logs(*STRENGTHS), (2, 2, 1))
    assert found.item() == pytest.approx(math.log(1 / 2), abs=1e-12)


def test_what_is_not_ranked_is_not_there() -> None:
    # Strength 2 is F: 1 before 3 is 1/4.
    found = plackett_luce_log_likelihood(logs(*STRENGTHS), (1, None, 2))
    assert found.item() == pytest.approx(math.log(1 / 4), abs=1e-12)


@pytest.mark.parametrize("ranks", [(1, 1, 1), (None, None, 1), (None, None, None)])
def test_nothing_to_choose(ranks: tuple[int | None, ...]) -> None:
    scores = logs(*STRENGTHS).requires_grad_()
    found = plackett_luce_log_likelihood(scores, ranks)
    found.backward()
    assert found.item() == 0.0
    assert scores.grad is not None
    assert scores.grad.tolist() == [0.0, 0.0, 0.0]


def test_every_weak_order_of_four_equals_the_sum_over_its_strict_orders() -> None:
    strengths = (0.5, 1.0, 2.0, 5.0)
    for ranks in itertools.product(range(1, 5), repeat=4):
        compatible = [
            order
            for order in itertools.permutations(range(4))
            if all(ranks[a] <= ranks[b] for a, b in itertools.pairwise(order))
        ]
        expected = sum(strict(strengths, order) for order in compatible)
        found = plackett_luce_log_likelihood(logs(*strengths), ranks).exp().item()
        assert found == pytest.approx(expected, abs=1e-12), ranks


def test_all_strict_orders_sum_to_one_and_the_gradient_to_zero() -> None:
    scores = logs(0.5, 1.0, 2.0, 5.0).requires_grad_()
    total = sum(plackett_luce_log_likelihood(scores, ranks).exp() for ranks in itertools.permutations((1, 2, 3, 4)))
    assert isinstance(total, Tensor)
    total.backward()
    assert total.item() == pytest.approx(1.0)
    assert scores.grad is not None
    assert scores.grad.abs().max().item() < 1e-12


def test_of_two_it_is_bradley_terry() -> None:
    scores = logs(3.0, 1.0)
    expected = -bradley_terry_loss(scores[:1], scores[1:]).item()
    assert plackett_luce_log_likelihood(scores, (1, 2)).item() == pytest.approx(expected)


def test_gradient_by_hand() -> None:
    # log P = s3 − log(6) + s2 − log(1 + 2): ∂/∂s3 = 1 − 3/6; ∂/∂s2 = −2/6 + 1 − 2/3; ∂/∂s1 = −1/6 − 1/3.
    scores = logs(*STRENGTHS).requires_grad_()
    plackett_luce_log_likelihood(scores, (3, 2, 1)).backward()
    torch.testing.assert_close(scores.grad, torch.tensor([-1 / 2, 0.0, 1 / 2], dtype=torch.float64))


def test_as_many_may_share_a_rank_as_the_limit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three alike, two come first: ⅓ of the three pairs."""
    monkeypatch.setattr(plackett_luce, "MAX_TIED", 2)
    assert plackett_luce_log_likelihood(logs(1, 1, 1), (1, 1, 2)).exp().item() == pytest.approx(1 / 3)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 ranks for 3 scores"):
        plackett_luce_log_likelihood(logs(*STRENGTHS), (1, 2))
    with pytest.raises(ValueError, match="13 completions share a rank"):
        plackett_luce_log_likelihood(torch.zeros(14), (1,) * 13 + (2,))
