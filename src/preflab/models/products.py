"""Matrix products of half-precision inputs whose sums stay float32.

A product that is rounded to bfloat16 has 8 bits: a logit near 20 is then off by up to 0.06. The inputs' products are
exact in float32, so nothing has to be lost in the sum.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right as float32, for two matrices of one floating type."""
    if left.dtype == torch.float32:
        return left @ right
    if _sums_in_float32(left.device.type, left.dtype):
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


@functools.cache
def _sums_in_float32(device: str, dtype: torch.dtype) -> bool:
    """Whether torch has a product of this type with a float32 result on a kind of device, and it is right."""
    x = torch.arange(16.0, device=device).view(4, 4).to(dtype)
    try:
        summed = torch.mm(x, x, out_dtype=torch.float32)
    except (RuntimeError, TypeError):
        return False
    return summed.dtype == torch.float32 and torch.equal(summed, x.float() @ x.float())
