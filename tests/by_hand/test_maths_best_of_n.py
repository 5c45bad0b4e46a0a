"""Best-of-n by hand, and against every subset."""

from __future__ import annotations

import math
from itertools import combinations, product

import pytest
import torch

from preflab.maths.best_of_n import (
    best_of_n_kl_bound,
    expected_best_of,
    order_statistic_weights,
)


def test_kl_bound() -> None:
    assert best_of_n_kl_bound(1) == 0
    assert best_of_n_kl_bound(2) == pytest.approx(math.log(2) - 1 / 2)
    assert best_of_n_kl_bound(4) == pytest.approx(2 * math.log(2) - 3 / 4)
    with pytest.raises(ValueError, match="at least 1"):
        best_of_n_kl_bound(0)


def test_order_statistic_weights() -> None:
    # Of three: one drawn is any of them; of two drawn the best is the middle one in 1 of 3 pairs, the largest in 2.
    expected = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0, 1 / 3, 2 / 3], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(order_statistic_weights(3), expected)
    torch.testing.assert_close(order_statistic_weights(500).sum(-1), torch.ones(500, dtype=torch.float64))


def test_expected_best_of_the_scores() -> None:
    # 1, 2, 6: mean 3; best of two: (2 + 6 + 6)/3; best of three: 6.
    found = expected_best_of(torch.tensor([2.0, 6.0, 1.0]))
    assert found.tolist() == pytest.approx([3, 14 / 3, 6])


def test_expected_value_of_the_best_by_another_measure() -> None:
    # By score 1 < 2 < 6 the values are 9, 0, 3: mean 4; best of two: (0 + 3 + 3)/3; best of three: 3.
    found = expected_best_of(torch.tensor([2.0, 6.0, 1.0]), torch.tensor([0.0, 3.0, 9.0]))
    assert found.tolist() == pytest.approx([4, 2, 3])


def test_expected_best_of_is_the_mean_over_all_subsets_with_ties_at_random() -> None:
    scores, values = [1.0, 3.0, 3.0, 0.0, 1.0], [5.0, 1.0, 2.0, 7.0, 11.0]
    found = expected_best_of(torch.tensor([scores]), torch.tensor([values]))
    for n in range(1, 6):
        worth = []
        for subset in combinations(range(5), n):
            best = max(scores[i] for i in subset)
            tied = [values[i] for i in subset if scores[i] == best]
            worth.append(sum(tied) / len(tied))
        assert found[0, n - 1].item() == pytest.approx(sum(worth) / len(worth)), n


@pytest.mark.parametrize("n", [1, 2, 3])
def test_best_of_n_probabilities_equal_those_of_all_groups(n: int) -> None:
    probabilities, scores = [0.5, 0.125, 0.25, 0.125], [1.0, 2.0, 2.0, 0.0]
    expected = [0.0] * 4
    for group in product(range(4), repeat=n):
        best = max(scores[i] for i in group)
        first = next(i for i in group if scores[i] == best)
        expected[first] += math.prod(probabilities[i] for i in group)
    kl = sum(p * math.log(p / q) for p, q in zip(expected, probabilities, strict=True))
    assert kl <= best_of_n_kl_bound(n) + 1e-12


def test_kl_bound_is_reached_if_completions_hardly_repeat() -> None:
    # The best of 4 among 2000 equally likely scores is the k-th smallest with chance (k/2000)⁴ − ((k − 1)/2000)⁴.
    chances = (torch.arange(2001, dtype=torch.float64) / 2000).pow(4).diff()
    kl = (chances * (chances * 2000).log()).sum().item()
    assert kl == pytest.approx(best_of_n_kl_bound(4), abs=1e-3)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        expected_best_of(torch.tensor([1.0, math.nan]))
    with pytest.raises(ValueError, match="not finite"):
        expected_best_of(torch.tensor([1.0, 2.0]), torch.tensor([math.inf, 0.0]))
