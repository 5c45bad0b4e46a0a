"""However a step is cut into micro-batches, loss, statistics and gradient are those of the whole."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from preflab.maths import bradley_terry, kl, losses
from preflab.maths.masks import completion_mask_from_lengths

B, T = 6, 5
LENGTHS = torch.tensor([5, 1, 3, 2, 4, 1])
MASK = completion_mask_from_lengths(LENGTHS, T)
SPLITS = ([6], [1, 5], [2, 2, 2], [4, 1, 1], [1] * 6)

Loss = Callable[[Tensor, slice, float | None], Tensor]


def noise(seed: int, mask: Tensor | None = MASK) -> Tensor:
    """(B, T) normal numbers, NaN at masked places; (B,) where the mask is None."""
    generator = torch.Generator().manual_seed(seed)
    if mask is None:
        return torch.randn(B, generator=generator, dtype=torch.float64)
    return torch.randn(B, T, generator=generator, dtype=torch.float64).masked_fill(~mask, math.nan)


def policy(x: Tensor, part: slice, n: float | None) -> Tensor:
    found = losses.clipped_policy_loss(
        x, noise(2)[part], noise(3)[part], MASK[part], clip_low=0.2, clip_high=0.3, denominator=n
    )
    return torch.stack([found.loss, found.clip_fraction, found.approx_kl])


def value(x: Tensor, part: slice, n: float | None) -> Tensor:
    return torch.stack(
        losses.clipped_value_loss(x, noise(2)[part], noise(3)[part], MASK[part], clip=0.5, denominator=n)
    )


def nll(x: Tensor, part: slice, n: float | None) -> Tensor:
    return losses.nll_loss(x, MASK[part], n).unsqueeze(0)


def sequence_kl(x: Tensor, part: slice, n: float | None) -> Tensor:
    return kl.sequence_kl_loss(x, noise(2)[part], MASK[part], n).unsqueeze(0)


def exact_kl(x: Tensor, part: slice, n: float | None) -> Tensor:
    return kl.exact_kl_loss(x, MASK[part], n).unsqueeze(0)


WEIGHTS = noise(4, None).abs()
OUTCOMES = torch.tensor([0, 1, 2, 1, 0, 2])


def pairs(x: Tensor, part: slice, n: float | None) -> Tensor:
    loss = bradley_terry.bradley_terry_loss(x, noise(2, None)[part], weights=WEIGHTS[part], denominator=n)
    return loss.unsqueeze(0)


def davidson(x: Tensor, part: slice, n: float | None) -> Tensor:
    rejected, outcomes, weights = noise(2, None)[part], OUTCOMES[part], WEIGHTS[part]
    return bradley_terry.davidson_loss(x, rejected, outcomes, 0.3, weights=weights, denominator=n).unsqueeze(0)


TOKENS, SEQUENCES, WEIGHT = float(LENGTHS.sum()), float(B), float(WEIGHTS.sum())
CASES: list[tuple[Loss, bool, float]] = [
    (policy, True, TOKENS),
    (value, True, TOKENS),
    (nll, True, TOKENS),
    (sequence_kl, True, SEQUENCES),
    (exact_kl, True, TOKENS),
    (pairs, False, WEIGHT),
    (davidson, False, WEIGHT),
]


@pytest.mark.parametrize("sizes", SPLITS, ids=str)
@pytest.mark.parametrize(("loss", "per_token", "denominator"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_losses_of_micro_batches_add_up(loss: Loss, per_token: bool, denominator: float, sizes: list[int]) -> None:
    mask = MASK if per_token else None
    whole = noise(1, mask).requires_grad_()
    expected = loss(whole, slice(None), None)  # the local count of the whole is the global denominator
    expected[0].backward()

    split = noise(1, mask).requires_grad_()
    total = torch.zeros_like(expected)
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        found = loss(split[part], part, denominator)
        found[0].backward()
        total += found.detach()
        start += size
    torch.testing.assert_close(total, expected.detach())
    assert split.grad is not None
    assert whole.grad is not None
    assert split.grad.isfinite().all()
    torch.testing.assert_close(split.grad, whole.grad)
    assert whole.grad.abs().sum() > 0
