"""A LoRA layer as one operation: the sum of base and adapter in few matrix products, forward and backward.

    y = x Wᵀ + bias + scaling · (x Aᵀ) Bᵀ
    ∂x = g W + h A,   ∂A = hᵀ x,   ∂B = scaling · gᵀ (x Aᵀ),   with g = ∂y and h = scaling · g B

Computed layer by layer, the adapter costs two products, a multiplication and an addition of the size of the output, and
backward again a multiplication and an addition. A small model's step on a GPU is as long as its kernels are many, so
additions and multiplications are done within the products (`addmm`). On a CPU nothing is gained, and the sums round
differently, so a CPU keeps the layer-by-layer form.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FUSED_DEVICES = ("cuda",)
"""Types of devices on which adapters are fused."""


def is_fused(x: Tensor, weight: Tensor) -> bool:
    """Whether the layer of this input and base weight is computed as one operation."""
    return x.device.type in FUSED_DEVICES and not weight.requires_grad


def fused_product(
    x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float, *, half: bool = False
) -> Tensor:
    """(N, outputs) output of a layer with one adapter; the gradients of x, A and B are exact.

    Args:
        x: (N, inputs).
        weight: (outputs, inputs) of the base, frozen.
        bias: (outputs,) of the base, frozen, or None.
        down: (rank, inputs) A.
        up: (outputs, rank) B.
        scaling: the adapter's factor.
        half: whether all is computed in the type of the weight, which has 16 bits; outputs are then those of
            `half_adapters`, bit for bit: the adapter's output is rounded, its sum with the base's once more.
    """
    y: Tensor = _Fused.apply(x, weight, bias, down, up, scaling, half)
    return y


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float, half: bool
    ) -> Tensor:
        ctx.dtypes, ctx.scaling = (x.dtype, down.dtype, up.dtype), scaling
        x, down, up = (part.to(weight.dtype) for part in (x, down, up))
        with torch.autocast(x.device.type, enabled=False):
            low = x @ down.t()
            if half:
                y = torch.addmm(low @ up.t(), x, weight.t(), beta=scaling)
                y = y if bias is None else (y + bias).to(weight.dtype)
            else:
                y = x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())
                y.addmm_(low, up.t(), alpha=scaling)
        ctx.save_for_backward(x, weight, down, up, low)
        return y

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = upstream
        x, weight, down, up, low = ctx.saved_tensors
        of_x, of_down, of_up = ctx.dtypes
        dx = d_down = d_up = None
        with torch.autocast(x.device.type, enabled=False):
            h = _scaled_product(g, up, ctx.scaling)
            if ctx.needs_input_grad[0]:
                dx = (g @ weight).addmm_(h, down).to(of_x)
            if ctx.needs_input_grad[3]:
                d_down = (h.t() @ x).to(of_down)
            if ctx.needs_input_grad[4]:
                d_up = _scaled_product(g.t(), low, ctx.scaling).to(of_up)
        return dx, None, None, d_down, d_up, None, None


def _scaled_product(left: Tensor, right: Tensor, factor: float) -> Tensor:
    """factor · (left @ right) in one product."""
    nothing = left.new_empty((left.shape[0], right.shape[1]))
    return torch.addmm(nothing, left, right, beta=0.0, alpha=factor)
