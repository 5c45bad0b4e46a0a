"""A role's adapter added into the weights: a plain model without adapter layers."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from preflab.models.trunk import Role, Trunk

MERGED = 1e-3
"""Largest difference between merged and unmerged, as a share of what the adapter changes. Rounding of the merged
weights stays far below it in float32; an adapter that is scaled wrongly or not merged in one layer does not."""


def merged_language_model(trunk: Trunk, role: Role) -> Any:
    """A copy of the role's language model with its adapter merged in: W + (alpha / rank) · B A; adapters are gone.

    The copy is float32, also of a base in half precision, where most of what a small adapter adds would round away.
    With full fine-tuning it is the role's model itself. Adding adapters again, to start a new stage, works on it as
    on any other model.
    """
    from peft.tuners.lora import LoraLayer

    model = trunk.language_model(role)
    if trunk.lora is None:
        return model
    model = copy.deepcopy(model).float()
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    for name, layer in reversed(layers):
        layer.merge(adapter_names=[role])
        if not name.endswith(".base_layer"):  # wrappers of several weights of one module lie inside one another
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
    del model.peft_config
    return model


def merge_error(merged: Tensor, unmerged: Tensor, base: Tensor) -> float:
    """max |merged − unmerged| / max |unmerged − base|: the difference as a share of what the adapter changes."""
    effect = (unmerged.float() - base.float()).abs().max().item()
    return (merged.float() - unmerged.float()).abs().max().item() / max(effect, 1e-30)
