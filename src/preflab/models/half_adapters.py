"""Adapters on a base in half precision: the outputs of base and adapter are added before they are rounded.

peft adds an adapter's output to the base's output, which is already rounded. The output of a small adapter is less than
half of that output's last bit and is lost: of 1e-4 on outputs near 1 in bfloat16, 3 % remains. If only the sum is
rounded, the adapter's effect survives on average over the outputs: unrounded outputs lie anywhere between two numbers
of the type, so the adapter moves some of them to the next number.

On a GPU the layers are also fused (`models.fused_adapters`), in half precision and in float32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from preflab.models.fused_adapters import fused_product, is_fused
from preflab.models.linear_layers import is_quantised, plain_weight


def needs_own_layers(compute: torch.dtype | None) -> bool:
    """Whether to call `sum_before_rounding`: in half precision, or on a machine with a GPU, which fuses layers."""
    return compute is not None or torch.cuda.is_available()


def sum_before_rounding(model: nn.Module) -> None:
    """Make the linear LoRA layers of a model add before they round, and fuse them on a GPU.

    Other layers do not change, nor do float32 passes on a CPU.
    """
    from peft.tuners.lora.layer import Linear

    for module in model.modules():
        if type(module) is not Linear:
            continue
        base: Any = module.base_layer
        if type(base) in _layouts() or is_quantised(base):
            module.__class__ = _summing_class()


@functools.cache
def _layouts() -> dict[type, bool]:
    """Class of a linear layer → whether its weight has the shape (outputs, inputs)."""
    from preflab.models.cpu_linear import LINEAR, TRANSPOSED

    return {**dict.fromkeys(LINEAR, True), **dict.fromkeys(TRANSPOSED, False)}


@functools.cache
def _summing_class() -> Any:
    from peft.tuners.lora.layer import Linear

    class SummingLinear(Linear):  # a class instead of a patched method, so that copies of a model keep it
        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            names = [] if self.disable_adapters else [n for n in self.active_adapters if n in self.lora_A]
            casts = torch.is_autocast_enabled(x.device.type)
            half = torch.get_autocast_dtype(x.device.type) if casts else self.base_layer.weight.dtype
            special = args or kwargs or self.merged or len(names) > 1 or any(n in self.lora_variant for n in names)
            name = names[0] if names else None
            if special or (half == torch.float32 and not (name and _can_fuse(self, x, name))):
                return super().forward(x, *args, **kwargs)
            if name and _can_fuse(self, x, name) and (casts or half == torch.float32):
                return _fused(self, x, name, half)
            return _summed(self, x, name, half)

    return SummingLinear


def _can_fuse(layer: Any, x: Tensor, adapter: str) -> bool:
    """Whether the adapter is plain, without dropout and bias, and the device fuses."""
    if type(layer.base_layer) not in _layouts() or not isinstance(layer.lora_dropout[adapter], nn.Identity):
        return False
    return layer.lora_B[adapter].bias is None and is_fused(x, layer.base_layer.weight)


def _fused(layer: Any, x: Tensor, adapter: str, dtype: torch.dtype) -> Tensor:
    """The output of a layer with one plain adapter as one operation, computed in `dtype`."""
    base = layer.base_layer
    weight = base.weight.t() if _layouts()[type(base)] else base.weight  # (inputs, outputs)
    y = fused_product(
        x.reshape(-1, x.shape[-1]),
        weight.t().to(dtype),
        base.bias,
        layer.lora_A[adapter].weight,
        layer.lora_B[adapter].weight,
        layer.scaling[adapter],
        half=dtype != torch.float32,
    )
    return y.view(*x.shape[:-1], y.shape[-1])


def _summed(layer: Any, x: Tensor, adapter: str | None, half: torch.dtype) -> Tensor:
    """W x + scaling · B A x + bias in `half`, where the sum of W x and the adapter's output is rounded only once.

    Without an adapter the same operation adds zeros, so that a fresh adapter (B = 0) changes no bit.
    """
    base = layer.base_layer
    rows = x.reshape(-1, x.shape[-1])
    if adapter is None:
        added, scaling = rows.new_zeros((), dtype=half).expand(rows.shape[0], layer.out_features), 1.0
    else:
        down, up = layer.lora_A[adapter], layer.lora_B[adapter]
        rows_given = rows if torch.is_autocast_enabled(x.device.type) else rows.to(down.weight.dtype)
        added, scaling = up(down(layer.lora_dropout[adapter](rows_given))).to(half), layer.scaling[adapter]
    if is_quantised(base):
        summed = _QuantisedSum.apply(added, rows.to(half), base, scaling)
    else:
        weight = base.weight.t() if _layouts()[type(base)] else base.weight
        summed = torch.addmm(added, rows.to(half), weight.to(half), beta=scaling)
    if base.bias is not None:
        summed = (summed + base.bias).to(half)
    return summed.view(*x.shape[:-1], summed.shape[-1])  # a sparse layer may get no row


class _QuantisedSum(torch.autograd.Function):
    """scaling · added + rows Wᵀ, where W is frozen and quantised.

    The backward pass computes W again from its levels. `addmm` would keep a whole W per layer until then.
    """

    @staticmethod
    def forward(ctx: Any, added: Tensor, rows: Tensor, base: Any, scaling: float) -> Tensor:
        ctx.base, ctx.scaling = base, scaling
        return torch.addmm(added, rows, plain_weight(base).to(rows.dtype).t(), beta=scaling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        to_added = ctx.scaling * gradient if ctx.needs_input_grad[0] else None
        to_rows = gradient @ plain_weight(ctx.base).to(gradient.dtype) if ctx.needs_input_grad[1] else None
        return to_added, to_rows, None, None
