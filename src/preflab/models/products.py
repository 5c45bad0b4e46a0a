"""Matrix products of half-precision inputs whose sums stay float32.

A result rounded to bfloat16 has 8 significant bits: a logit near 20 would be off by up to 0.06. Products of two
half-precision numbers are exact in float32, so only the float32 sum rounds.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from preflab.models.onednn import multiply, pays


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right in float32, for two matrices of the same floating type."""
    if left.dtype == torch.float32:
        return multiply(left, right.T) if pays(left, right.T) else left @ right
    if _sums_in_float32(left.device.type, left.dtype):
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


@functools.cache
def _sums_in_float32(device: str, dtype: torch.dtype) -> bool:
    """Whether torch has a product of this type with a float32 result on this kind of device, and it is correct."""
    x = torch.arange(16.0, device=device).view(4, 4).to(dtype)
    try:
        summed = torch.mm(x, x, out_dtype=torch.float32)
    except (RuntimeError, TypeError):
        return False
    return summed.dtype == torch.float32 and torch.equal(summed, x.float() @ x.float())
