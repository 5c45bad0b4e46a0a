"""Keeps the time step of state-space layers within its limits at every token.

    Δ = clamp(softplus(dt + dt_bias), low, high)

transformers (5.23) clamps Δ if a layer processes many tokens at once, but not if it processes a single one. Models
whose limits take effect (Zamba 2, Nemotron-H) would decode from another distribution than the one they are trained
with. softplus is monotone, so clamping dt + dt_bias before it gives the same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def limited_time_steps(model: nn.Module) -> Iterator[None]:
    """Clamp the time step of every state-space layer that has limits for it, inside the block."""
    hooks = [layer.in_proj.register_forward_hook(_clamping(layer)) for layer in _limited_layers(model)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _limited_layers(model: nn.Module) -> list[Any]:
    """Layers with other limits than (0, ∞), whose input projection ends with dt, one number per head."""
    layers = []
    for layer in model.modules():
        limits = getattr(layer, "time_step_limit", None)
        if limits is None or tuple(limits) == (0.0, math.inf):
            continue
        if hasattr(layer, "dt_bias") and hasattr(layer, "in_proj") and hasattr(layer, "num_heads"):
            layers.append(layer)
    return layers


def _clamping(layer: Any) -> Callable[..., Tensor]:
    low, high = (_before_softplus(limit) for limit in layer.time_step_limit)

    def clamp(_module: nn.Module, _inputs: Any, projected: Tensor) -> Tensor:
        bias = layer.dt_bias.to(projected.dtype)
        dt = projected[..., -len(bias) :]
        return torch.cat([projected[..., : -len(bias)], torch.clamp(dt + bias, low, high) - bias], dim=-1)

    return clamp


def _before_softplus(limit: float) -> float:
    """The x for which log(1 + exp x) = limit."""
    if limit <= 0:
        return -math.inf
    return limit if limit > 20 else math.log(math.expm1(limit))
