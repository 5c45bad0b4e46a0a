"""Kemeny's order against all K! orders, scored one by one."""

from __future__ import annotations

from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest

from preflab.errors import PreflabError
from preflab.feedback.kemeny import kemeny
from preflab.feedback.order import best_order, ranks_from_relation


def listed(margins: np.ndarray) -> tuple[int, list[tuple[int, ...]]]:
    """The best score and every order that reaches it, by trying all."""
    scores = {
        order: sum(int(margins[i, j]) for i, j in combinations(order, 2)) for order in permutations(range(len(margins)))
    }
    best = max(scores.values())
    return best, [order for order, score in scores.items() if score == best]


def random_margins(num: int, largest: int, seed: int) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).integers(-largest, largest + 1, size=(num, num)), 1)
    return np.asarray(upper - upper.T)


@pytest.mark.parametrize("num", range(2, 8))
@pytest.mark.parametrize("largest", [1, 2, 5])
def test_kemeny_finds_and_counts_the_best_of_all_orders(num: int, largest: int) -> None:
    for seed in range(60 if num < 6 else 6):
        margins = random_margins(num, largest, seed)
        best, orders = listed(margins)
        found = kemeny(margins)
        assert found.score == best
        assert found.num_orders == len(orders)
        for i, j in permutations(range(num), 2):
            assert found.above[i, j] == sum(order.index(i) < order.index(j) for order in orders)
            assert found.agreed[i, j] == all(order.index(i) < order.index(j) for order in orders)
        assert not np.diagonal(found.agreed).any()


@pytest.mark.parametrize("num", range(1, 10))
def test_kemeny_without_votes_finds_every_order_best(num: int) -> None:
    found = kemeny(np.zeros((num, num)))
    assert (found.score, found.num_orders) == (0, factorial(num))
    assert not found.agreed.any()
    assert ranks_from_relation(found.agreed) == [1] * num


@pytest.mark.parametrize("num", range(2, 10))
def test_kemeny_of_a_unanimous_order_is_unique(num: int) -> None:
    order = [(4 * i + 1) % num for i in range(num)] if num % 2 else list(range(num))[::-1]
    margins = np.zeros((num, num))
    for i, j in combinations(order, 2):
        margins[i, j], margins[j, i] = 1 / 3, -1 / 3
    found = kemeny(margins)
    assert found.num_orders == 1
    assert found.score == pytest.approx(num * (num - 1) / 6)
    assert [ranks_from_relation(found.agreed)[i] for i in order] == list(range(1, num + 1))


def test_kemeny_breaks_a_cycle_at_its_weakest_link() -> None:
    # a > b by 3, b > c by 2, c > a by 1: abc keeps 3 + 2 − 1 = 4, bca 2 + 1 − 3 = 0, cab 1 + 3 − 2 = 2.
    found = kemeny(np.array([[0, 3, -1], [-3, 0, 2], [1, -2, 0]]))
    assert (found.score, found.num_orders) == (4, 1)
    assert ranks_from_relation(found.agreed) == [1, 2, 3]


def test_kemeny_of_an_even_cycle_has_three_orders() -> None:
    # abc, bca, cab: each pair stands one way in two of them and the other way in one.
    found = kemeny(np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]))
    assert (found.score, found.num_orders) == (1, 3)
    assert found.above.tolist() == [[0, 2, 1], [1, 0, 2], [2, 1, 0]]
    assert ranks_from_relation(found.agreed) == [1, 1, 1]


def test_kemeny_rounds_weights_that_cancel() -> None:
    margin = 0.1 + 0.2 - 0.3  # 5.6e-17
    assert kemeny(np.array([[0, margin], [-margin, 0]])).num_orders == 2


def test_ranks_from_relation_claim_no_more_than_is_settled() -> None:
    above = np.zeros((3, 3), dtype=bool)
    above[0, 1] = True  # a over b; c stands apart from both, so nothing separates the three
    assert ranks_from_relation(above) == [1, 1, 1]
    above[0, 2] = True
    assert ranks_from_relation(above) == [1, 2, 2]
    assert ranks_from_relation(np.zeros((0, 0), dtype=bool)) == []


def test_best_order_of_ten_completions_is_copeland() -> None:
    margins = random_margins(10, 3, seed=0)
    with pytest.raises(PreflabError, match="10 completions"):
        kemeny(margins)
    assert best_order(margins).method == "copeland"
    assert best_order(margins[:9, :9]).method == "kemeny"


def test_kemeny_refuses_margins_that_are_not_antisymmetric() -> None:
    with pytest.raises(PreflabError, match="antisymmetric"):
        kemeny(np.array([[0, 1], [1, 0]]))
