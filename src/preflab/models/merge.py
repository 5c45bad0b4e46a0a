"""Merges a role's adapter into the weights, which gives a plain model without adapter layers."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from preflab.models.four_bit import dequantise
from preflab.models.trunk import Role, Trunk

MERGED = 1e-3
"""Largest allowed difference between merged and unmerged outputs, as a share of the adapter's effect. In float32 the
rounding of merged weights stays far below it; a wrong scale or a layer that is not merged exceeds it."""


def merged_language_model(trunk: Trunk, role: Role) -> Any:
    """A copy of the role's language model without adapters, its weights W + (alpha / rank) · B A.

    The copy is float32 even if the base is in half precision, in which most of a small adapter's effect would be
    rounded away. If the base is quantised (`lora.base: nf4`), W is what the forward passes computed with, level times
    scale, and not the weight before it was quantised: the merged model is the model that was trained. With full
    fine-tuning the result is the role's model itself, not a copy. New adapters can be added to the result as to any
    other model.
    """
    from peft.tuners.lora import LoraLayer

    model = trunk.language_model(role)
    if trunk.lora is None:
        return model
    model = copy.deepcopy(model)
    dequantise(model)
    model.float()
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    for name, layer in reversed(layers):
        layer.merge(adapter_names=[role])
        if not name.endswith(".base_layer"):  # wrappers of several weights of one module are nested
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
    del model.peft_config
    return model


def merge_error(merged: Tensor, unmerged: Tensor, base: Tensor) -> float:
    """max |merged − unmerged| / max |unmerged − base|: the difference as a share of the adapter's effect."""
    effect = (unmerged.float() - base.float()).abs().max().item()
    return (merged.float() - unmerged.float()).abs().max().item() / max(effect, 1e-30)
