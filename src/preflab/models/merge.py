"""A role's adapter added into the weights: a plain model without adapter layers."""

from __future__ import annotations

import copy
from typing import Any

from preflab.models.trunk import Role, Trunk


def merged_language_model(trunk: Trunk, role: Role) -> Any:
    """A copy of the role's language model with its adapter merged in: W + (alpha / rank) · B A; adapters are gone.

    With full fine-tuning it is the role's model itself. Adding adapters again, to start a new stage, works on it as
    on any other model.
    """
    from peft.tuners.lora import LoraLayer

    model = trunk.language_model(role)
    if trunk.lora is None:
        return model
    model = copy.deepcopy(model)
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    for name, layer in layers:
        layer.merge(adapter_names=[role])
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    del model.peft_config
    return model
