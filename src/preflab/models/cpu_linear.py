"""Linear layers whose products oneDNN computes on a CPU, forward and backward.

    y = x Wᵀ + bias,   ∂x = g W,   ∂W = gᵀ x,   ∂bias = Σ g,   with g = ∂y

Layers become instances of a subclass, so that copies of a model keep it; weights, names and hooks stay as they are. In
all other cases (small products, half precision, autocast, another device) they compute what their own class computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from preflab.models.onednn import is_faster, multiply, multiply_rows, pays, row_step


class CpuLinear(nn.Linear):
    """torch's linear layer; the weight is (outputs, inputs)."""

    def forward(self, input: Tensor) -> Tensor:  # torch's name of the argument
        """(…, inputs) → (…, outputs)."""
        if not _computes(input, self.weight, self.bias):
            return super().forward(input)
        return linear(input, self.weight, self.bias)


class CpuConv1D(Conv1D):
    """transformers' linear layer (GPT-2); the weight is (inputs, outputs)."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs)."""
        if not _computes(x, self.weight.t(), self.bias):
            return super().forward(x)
        return linear(x, self.weight.t(), self.bias)


CLASSES: dict[type, type] = {nn.Linear: CpuLinear, Conv1D: CpuConv1D}
"""Class of a linear layer → its subclass here."""

LINEAR = (nn.Linear, CpuLinear)
"""The classes of layers that compute x Wᵀ + bias with a weight of shape (outputs, inputs)."""

PLAIN = (Tensor, nn.Parameter)
"""Tensors that hold their numbers; subclasses may store them in another form."""

TRANSPOSED = (Conv1D, CpuConv1D)
"""The classes of layers whose weight has the shape (inputs, outputs)."""


def use_onednn(model: nn.Module) -> None:
    """Let the linear layers of a model, adapters included, multiply by oneDNN where that is faster.

    Layers of other subclasses are not changed: their `forward` is their own.
    """
    if not is_faster():
        return
    for module in model.modules():
        if type(module) in CLASSES:
            module.__class__ = CLASSES[type(module)]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + bias, (…, inputs) → (…, outputs), by oneDNN; differentiable once.

    Args:
        x: (…, inputs) float32 on the CPU.
        weight: (outputs, inputs).
        bias: (outputs,) contiguous, or None.
    """
    y: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return y.view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        learned = ctx.needs_input_grad[1]
        ctx.save_for_backward(x if learned else None, weight)
        return multiply_rows(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            multiply_rows(g, weight.t()) if of_x else None,
            _sum_over_rows(g, x) if of_weight else None,
            g.sum(0) if of_bias else None,
        )


def _sum_over_rows(g: Tensor, x: Tensor) -> Tensor:
    """gᵀ x for g (n, V) and x (n, H); torch multiplies the rows above a multiple of `row_step(n)`."""
    num = x.shape[0]
    whole = num - num % row_step(num)
    product = multiply(g[:whole].t(), x[:whole].t())
    return product if whole == num else product.addmm_(g[whole:].t(), x[whole:])


def _computes(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """True if the layer's output is computed here. `torch.compile` writes its own products.

    Shapes and types that do not match are left to torch, whose messages name them.
    """
    if torch.compiler.is_compiling() or type(x) not in PLAIN or type(weight) not in PLAIN:
        return False
    if x.shape[-1:] != weight.shape[1:] or not pays(x, weight):
        return False
    return _fits(bias, weight) and not torch.is_autocast_enabled("cpu")


def _fits(bias: Tensor | None, weight: Tensor) -> bool:
    """True if oneDNN can add a bias: one number per output, in the weight's type. It ignores the bias's strides."""
    if bias is None:
        return True
    same = type(bias) in PLAIN and bias.dtype == weight.dtype and bias.device == weight.device
    return same and bias.shape == weight.shape[:1] and bias.is_contiguous()
