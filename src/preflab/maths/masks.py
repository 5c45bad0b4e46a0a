"""Reductions over the positions where a mask is True; masked positions may hold NaN."""

from __future__ import annotations

import torch
from torch import Tensor


def check_same_shape(**tensors: Tensor) -> None:
    """Raise ValueError unless all shapes are equal; broadcasting (B,) against (B, T) would go wrong silently."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"shapes differ: {shapes}; expected all of them equal")


def completion_mask_from_lengths(lengths: Tensor, num_tokens: int) -> Tensor:
    """True at the first `lengths[b]` of `num_tokens` positions: mask[b, t] = t < lengths[b].

    lengths (B,) integers → (B, T) bool.
    """
    return torch.arange(num_tokens, device=lengths.device) < lengths.unsqueeze(-1)


def zero_masked(x: Tensor, mask: Tensor) -> Tensor:
    """x where the mask is True, 0 elsewhere; same shape.

    Selects instead of multiplying, because 0 · NaN is NaN. Apply it *before* any non-linear function: the gradient of a
    function at NaN is NaN even if the incoming gradient is 0.
    """
    check_same_shape(x=x, mask=mask)
    return torch.where(mask, x, torch.zeros_like(x))


def masked_sum(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Σ x over the positions where the mask is True, over all dimensions or over `dim`."""
    kept = zero_masked(x, mask)
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(x: Tensor, mask: Tensor, denominator: float | Tensor | None = None, dim: int | None = None) -> Tensor:
    """Σ x / denominator over the positions where the mask is True.

    `denominator` is the count of the whole optimiser step; None uses the count of this mask (over `dim`, if given). If
    the mask is False everywhere, the mean is 0 with gradient 0, so that an empty micro-batch is harmless.
    """
    total = masked_sum(x, mask, dim)
    if denominator is None:
        denominator = (mask.sum() if dim is None else mask.sum(dim)).clamp(min=1)
    return total / denominator


def next_kept(x: Tensor, mask: Tensor) -> Tensor:
    """For each position, x at the next position in the row where the mask is True; 0 if there is none.

    x, mask (B, T) → (B, T). In a completion of several turns the next token of the policy may be many positions later.
    """
    num_tokens = x.shape[-1]
    places = torch.arange(num_tokens, device=x.device).expand_as(x)
    candidates = torch.where(mask, places, num_tokens)
    at_or_after = candidates.flip(-1).cummin(-1).values.flip(-1)
    none = torch.full_like(at_or_after[..., :1], num_tokens)
    strictly_after = torch.cat([at_or_after[..., 1:], none], dim=-1)
    padded = torch.cat([zero_masked(x, mask), torch.zeros_like(x[..., :1])], dim=-1)
    return padded.gather(-1, strictly_after)
