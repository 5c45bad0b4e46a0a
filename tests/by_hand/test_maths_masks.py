"""Masked reductions by hand; masked places hold NaN throughout."""

from __future__ import annotations

import math

import pytest
import torch

from preflab.maths import masks

NAN = math.nan
X = torch.tensor([[1.0, 2.0, NAN], [6.0, NAN, NAN]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_mask_from_lengths() -> None:
    found = masks.completion_mask_from_lengths(torch.tensor([2, 0, 3]), 3)
    assert found.tolist() == [[True, True, False], [False, False, False], [True, True, True]]


def test_sum_and_mean() -> None:
    # Kept: 1, 2, 6. Sum 9; three of them: mean 3; denominator 18 → 1/2.
    assert masks.masked_sum(X, MASK).item() == 9
    assert masks.masked_sum(X, MASK, dim=1).tolist() == [3, 6]
    assert masks.masked_mean(X, MASK).item() == 3
    assert masks.masked_mean(X, MASK, 18.0).item() == 0.5
    assert masks.masked_mean(X, MASK, torch.tensor(18.0)).item() == 0.5
    # Along the tokens: (1 + 2)/2 and 6/1; along the sequences: (1 + 6)/2, 2/1, nothing.
    assert masks.masked_mean(X, MASK, dim=1).tolist() == [1.5, 6]
    assert masks.masked_mean(X, MASK, dim=0).tolist() == [3.5, 2, 0]


def test_gradient_of_masked_mean_ignores_nan() -> None:
    x = X.clone().requires_grad_()
    masks.masked_mean(x, MASK).backward()
    third = 1 / 3
    assert x.grad is not None
    assert x.grad.tolist() == [[third, third, 0], [third, 0, 0]]


def test_empty_mask_gives_zero_with_zero_gradient() -> None:
    x = X.clone().requires_grad_()
    mean = masks.masked_mean(x, torch.zeros_like(MASK))
    mean.backward()
    assert mean.item() == 0
    assert x.grad is not None
    assert x.grad.count_nonzero() == 0


def test_next_kept_skips_masked_positions() -> None:
    x = torch.tensor([[1.0, NAN, NAN, 4.0, 5.0, NAN]])
    mask = torch.tensor([[True, False, False, True, True, False]])
    # After place 0 the next kept is 4 (place 3), also seen from places 1 and 2; after 3 comes 5; then nothing.
    assert masks.next_kept(x, mask).tolist() == [[4, 4, 4, 5, 0, 0]]
    assert masks.next_kept(x, torch.zeros_like(mask)).tolist() == [[0] * 6]


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        masks.masked_sum(torch.zeros(2), torch.ones(2, 2, dtype=torch.bool))
