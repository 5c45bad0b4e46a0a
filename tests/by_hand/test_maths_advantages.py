"""Advantages, returns and whitening by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from preflab.maths import advantages as adv

NAN = math.nan


def rows(*lists: list[float]) -> Tensor:
    return torch.tensor(lists, dtype=torch.float64)


MASK = torch.tensor([[True, True, True], [True, True, False]])
REWARDS = rows([0, 0, 1], [0.5, -1, NAN])
VALUES = rows([0.5, 0.25, 0.75], [0.25, 0.5, NAN])


def test_score_lies_at_the_last_token() -> None:
    mask = torch.tensor([[True, True, False], [True, False, True], [False, False, False], [True, True, True]])
    found = adv.scores_at_last_token(torch.tensor([1.0, 2.0, 3.0, 4.0]), mask)
    assert found.tolist() == [[0, 1, 0], [0, 0, 2], [0, 0, 0], [0, 0, 4]]


def test_gae() -> None:
    advantages, returns = adv.gae(REWARDS, VALUES, MASK, gamma=1.0, lam=0.5)
    # First: deltas 0 + .25 − .5 = −.25; 0 + .75 − .25 = .5; 1 + 0 − .75 = .25.
    #   A = .25; .5 + ½·.25 = .625; −.25 + ½·.625 = .0625.
    # Second, two tokens: deltas .5 + .5 − .25 = .75; −1 + 0 − .5 = −1.5.  A = −1.5; .75 − .75 = 0.
    torch.testing.assert_close(advantages, rows([0.0625, 0.625, 0.25], [0, -1.5, 0]))
    torch.testing.assert_close(returns, rows([0.5625, 0.875, 1.0], [0.25, -1, 0]))


def test_gamma_discounts_values_and_advantages() -> None:
    advantages, _ = adv.gae(REWARDS[:1], VALUES[:1], MASK[:1], gamma=0.5, lam=1.0)
    # Deltas: ½·.25 − .5 = −.375; ½·.75 − .25 = .125; .25.  A: .25; .125 + ½·.25 = .25; −.375 + ½·.25 = −.25.
    torch.testing.assert_close(advantages, rows([-0.25, 0.25, 0.25]))


def test_lambda_one_returns_the_rewards_to_go_whatever_the_values() -> None:
    _, returns = adv.gae(REWARDS, VALUES, MASK, gamma=1.0, lam=1.0)
    torch.testing.assert_close(returns, rows([1, 1, 1], [-0.5, -1, 0]))


def test_a_cut_completion_is_terminal_unless_bootstrapped() -> None:
    rewards, values, mask = rows([0, 0], [0, NAN]), rows([0.5, 0.5], [0.5, NAN]), MASK[:, 1:].flip(0)
    mask = torch.tensor([[True, True], [True, False]])
    terminal, _ = adv.gae(rewards, values, mask, gamma=1.0, lam=1.0)
    # Last deltas 0 + 0 − .5 = −.5; the first token's delta 0: A = −.5 too.
    torch.testing.assert_close(terminal, rows([-0.5, -0.5], [-0.5, 0]))
    cut, returns = adv.gae(rewards, values, mask, gamma=1.0, lam=1.0, bootstrap_values=rows([2.0, 0.0])[0])
    # First row continues at 2: −.5 + 2 at both tokens. Second row, bootstrapped with 0, as before.
    torch.testing.assert_close(cut, rows([1.5, 1.5], [-0.5, 0]))
    torch.testing.assert_close(returns, rows([2, 2], [0, 0]))


def test_bootstrap_is_discounted_and_starts_at_the_last_token_of_each_row() -> None:
    cut, _ = adv.gae(REWARDS[1:], VALUES[1:], MASK[1:], gamma=0.5, lam=0.0, bootstrap_values=torch.tensor([4.0]))
    # lam = 0: the deltas alone. .5 + ½·.5 − .25 = .5; −1 + ½·4 − .5 = .5.
    torch.testing.assert_close(cut, rows([0.5, 0.5, 0]))


def test_several_turns_are_one_chain() -> None:
    # The same three tokens as in `test_gae`, with two tokens of somebody else between the first and the second.
    mask = torch.tensor([[True, False, False, True, True, False]])
    rewards = rows([0, NAN, NAN, 0, 1, NAN])
    values = rows([0.5, NAN, NAN, 0.25, 0.75, NAN])
    advantages, returns = adv.gae(rewards, values, mask, gamma=1.0, lam=0.5)
    torch.testing.assert_close(advantages, rows([0.0625, 0, 0, 0.625, 0.25, 0]))
    torch.testing.assert_close(returns, rows([0.5625, 0, 0, 0.875, 1.0, 0]))


def test_gae_of_one_token() -> None:
    """One token: 1 + 0 − 0.25, and the return is the reward."""
    advantages, returns = adv.gae(rows([1]), rows([0.25]), torch.tensor([[True]]), gamma=0.5, lam=0.5)
    assert (advantages.tolist(), returns.tolist()) == ([[0.75]], [[1]])


def test_nothing_carries_gradient() -> None:
    values = VALUES.clone().requires_grad_()
    rewards = REWARDS.clone().requires_grad_()
    advantages, returns = adv.gae(rewards, values, MASK, gamma=1.0, lam=0.95)
    assert not advantages.requires_grad
    assert not returns.requires_grad


# Kept: 1, 3, 5, 7, 9. Mean 5, squares of deviations 16 + 4 + 0 + 4 + 16 = 40, variance 8 (of the sample it would be
# 10).
X = rows([1, 3, 5], [7, 9, NAN])


def test_whiten() -> None:
    root = math.sqrt(8)
    expected = rows([-4 / root, -2 / root, 0], [2 / root, 4 / root, 0])
    torch.testing.assert_close(adv.whiten(X, MASK), expected)
    shifted_back = torch.where(MASK, expected + 5, 0)
    torch.testing.assert_close(adv.whiten(X, MASK, shift_mean=False), shifted_back)


def test_scaling_to_unit_variance_takes_no_mean_off() -> None:
    root = math.sqrt(8)
    expected = rows([1 / root, 3 / root, 5 / root], [7 / root, 9 / root, 0])
    torch.testing.assert_close(adv.scale_to_unit_variance(X, MASK), expected)
    # Of the whole batch's sums, here those of ±2 in equal numbers: mean 0, variance 4, half of each number.
    sums = torch.tensor([10.0, 0.0, 40.0], dtype=torch.float64)
    torch.testing.assert_close(adv.scale_to_unit_variance(X, MASK, sums=sums), torch.where(MASK, X / 2, 0))


def test_moment_sums_of_parts_add_up() -> None:
    first, second = adv.moment_sums(X[:1], MASK[:1]), adv.moment_sums(X[1:], MASK[1:])
    # Counts 3 and 2; sums 9 and 16; squares 1 + 9 + 25 and 49 + 81.
    assert first.tolist() == [3, 9, 35]
    assert second.tolist() == [2, 16, 130]
    assert first.dtype == torch.float64
    sums = first + second
    parts = [adv.whiten(X[b : b + 1], MASK[b : b + 1], sums=sums) for b in range(2)]
    torch.testing.assert_close(torch.cat(parts), adv.whiten(X, MASK))


def test_the_scale_of_whitening() -> None:
    sums = adv.moment_sums(X, MASK)
    assert adv.variance_of_sums(sums).item() == pytest.approx(8)
    assert adv.whitening_scale(sums).item() == pytest.approx(1 / math.sqrt(8))
    assert adv.mean_of_sums(sums).item() == 5
    assert adv.variance_of_sums(torch.zeros(2, 3)).tolist() == [0, 0]


def test_whitening_an_empty_mask_gives_zeros_by_finite_numbers() -> None:
    """No token: mean 0, variance 0, factor 1/√1e-8 = 10,000; numbers and gradients are 0, also beside NaN."""
    nothing = torch.zeros_like(MASK)
    sums = adv.moment_sums(X, nothing)
    assert sums.tolist() == [0, 0, 0]
    assert adv.mean_of_sums(sums).item() == 0
    assert adv.whitening_scale(sums).item() == pytest.approx(1e4)
    for whitened in (adv.whiten(X, nothing), adv.whiten(X, nothing, shift_mean=False)):
        assert whitened.tolist() == [[0] * 3] * 2
    assert adv.scale_to_unit_variance(X, nothing).tolist() == [[0] * 3] * 2


def test_whitening_equal_numbers_gives_zeros() -> None:
    x = torch.full((2, 3), 0.1)
    assert adv.whiten(x, MASK).abs().max() < 1e-3
    assert adv.whiten(x, torch.zeros_like(MASK)).tolist() == [[0] * 3] * 2


def test_gae_refuses_one_bootstrap_value_for_all() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        adv.gae(REWARDS, VALUES, MASK, gamma=1.0, lam=1.0, bootstrap_values=torch.tensor(1.0))
