"""The types in which weights are stored and forward passes are computed, for a given precision.

    trained weights    float32, as are optimiser states; computed in the precision by autocast
    frozen weights     stored in the precision, also the base under adapters
    adapters, heads    float32, on a base of any precision

Sums, softmax, statistics and losses are float32 in every precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from preflab.models.loading import torch_dtype

HALF = (torch.bfloat16, torch.float16)


def resolved(precision: str) -> str:
    """The name of a precision, with `auto` replaced by the best type for this machine.

    `auto` is bfloat16 on a CUDA or ROCm GPU with native bfloat16, else float32.
    """
    if precision != "auto":
        return precision
    has = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if has else "float32"


def weights_dtype(precision: str, *, learns: bool) -> torch.dtype:
    """The type to load a model in: float32 if its own weights are trained, else the precision."""
    return torch.float32 if learns else torch_dtype(precision)


def half_precision(compute: str | torch.dtype | None) -> torch.dtype | None:
    """The half-precision type to compute in by autocast; None for float32 and for None."""
    dtype = None if compute is None else torch_dtype(compute)
    return dtype if dtype in HALF else None


def autocast(half: torch.dtype | None, device: torch.device) -> AbstractContextManager[Any]:
    """A context that computes matrix products in `half`; with None it changes nothing."""
    return nullcontext() if half is None else torch.autocast(device.type, half)


@contextmanager
def without_gradients(model: Any) -> Iterator[None]:
    """Disable gradients for many passes with the same weights, so that autocast rounds each weight only once.

    Autocast caches rounded weights under `no_grad` but not in inference mode. Without autocast, inference mode is used
    because it is cheaper.
    """
    with torch.no_grad() if torch.is_autocast_enabled(model.device.type) else torch.inference_mode():
        yield


def computing_dtype(model: Any) -> torch.dtype:
    """The type in which a model computes now: autocast's type inside an autocast block, else that of its weights."""
    device = model.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else model.dtype


@torch.no_grad()
def round_frozen(model: nn.Module, half: torch.dtype) -> None:
    """Store the float32 weights of linear layers in `half`. Results under autocast stay the same, bit for bit.

    Autocast rounds exactly these weights in every forward pass. Weights shared with another module (an embedding tied
    to the head), biases, norms and embeddings stay float32.
    """
    from preflab.models.cpu_linear import LINEAR, TRANSPOSED

    kinds = (*LINEAR, *TRANSPOSED)
    linear = [module for module in model.modules() if type(module) in kinds]
    others = {id(p) for m in model.modules() if type(m) not in kinds for p in m.parameters(recurse=False)}
    for module in linear:
        if module.weight.dtype == torch.float32 and id(module.weight) not in others:
            module.weight.data = module.weight.data.to(half)
