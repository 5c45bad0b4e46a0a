"""LoRA adapters on a shared base: injecting, naming, reading and writing their weights (Hu et al. 2021)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from preflab.errors import PreflabError
from preflab.models.adapter_targets import AdapterTargets
from preflab.settings.learning import LoraSettings
from preflab.words import count


def add_adapter(model: Any, name: str, lora: LoraSettings, seed: int, targets: AdapterTargets) -> None:
    """Inject one more LoRA adapter into a model, in place. B starts at zero, so nothing changes yet.

    The adapter is float32 for every type of the base. peft would create it in the type of the base; in half precision
    small optimiser steps would then be rounded to nothing.

    Args:
        model: the base model, with or without other adapters.
        name: name of the new adapter.
        lora: rank and scale.
        seed: seeds the random matrix A.
        targets: the layers and weights that carry the adapter, from `find_targets`.

    Raises:
        PreflabError: another adapter of this model is on different experts' weights.
    """
    from peft import LoraConfig, inject_adapter_in_model

    check_beside(model, targets)
    settings = _settings(model, lora.rank, lora.alpha, targets)
    learned = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with torch.random.fork_rng(devices=[]), _quiet_peft():
        torch.manual_seed(seed)
        if targets.modules:
            # Name the layers by the keys of a state dict: peft would mistake some names in a configuration for experts.
            keys = {f"{module}.lora_A.weight": torch.empty(0) for module in targets.modules}
            config = LoraConfig(target_modules=_by_name(targets), **settings)
            inject_adapter_in_model(config, model, name, state_dict=keys)
        if targets.parameters:
            config = LoraConfig(target_modules=[], target_parameters=list(targets.parameters), **settings)
            inject_adapter_in_model(config, model, name)
    # If a layer has the same name as the adapter (`value`), peft mistakes it for a part of the adapter and freezes the
    # other adapters in it. Restore `requires_grad` of all parameters.
    for parameter, had_gradient in learned:
        parameter.requires_grad_(had_gradient)
    for parameter in adapter_parameters(model, name).values():
        parameter.requires_grad_(True)
        parameter.data = parameter.data.float()


def check_beside(model: Any, targets: AdapterTargets) -> None:
    """Check that all adapters of a model are on the same experts' weights, since peft wraps those in a fixed order.

    Raises:
        PreflabError: another adapter is on different experts' weights.
    """
    for config in getattr(model, "peft_config", {}).values():
        others = set(config.target_parameters or ())
        if others and targets.parameters and others != set(targets.parameters):
            differing = sorted(others ^ set(targets.parameters))[0]
            raise PreflabError(
                f"two adapters of one base model on different weights of experts (for example {differing})",
                "the same weights of experts in all adapters that share a base model",
                "train both with the same lora.target_modules",
            )


def saved_config(model: Any, name: str, targets: AdapterTargets) -> dict[str, Any]:
    """An adapter's configuration in peft's file format, with every layer and weight listed by its full name."""
    from peft import LoraConfig

    injected = model.peft_config[name]
    weights = [*targets.parameters, *(f"{module}.weight" for module in targets.by_weight)]
    settings = _settings(model, injected.r, injected.lora_alpha, targets)
    config = LoraConfig(target_modules=_by_name(targets), target_parameters=weights or None, **settings).to_dict()
    readable = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    return {key: getattr(value, "value", value) for key, value in readable.items()}


def _by_name(targets: AdapterTargets) -> list[str]:
    taken = set(targets.by_weight)
    return [module for module in targets.modules if module not in taken]


def _settings(model: Any, rank: int, alpha: float, targets: AdapterTargets) -> dict[str, Any]:
    return {
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "rank_pattern": dict(targets.ranks),
        "alpha_pattern": dict(targets.alphas),
        "fan_in_fan_out": _has_conv1d(model),
    }


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Silence peft's warnings about intended uses: several adapters, layers named by a state dict, ranks of experts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        warnings.filterwarnings("ignore", message="While injecting the PEFT adapters")
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys")
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        yield


def adapter_parameters(model: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The adapter's parameters by their names in the model, with the adapter's name removed from each.

    The adapter's name is matched only directly after `lora_A` or `lora_B`: a layer of the model may be called `value`
    as well.
    """
    middle = re.compile(rf"(\.lora_[AB])\.{re.escape(name)}\.")
    return {middle.sub(r"\1.", key): p for key, p in model.named_parameters() if middle.search(key)}


def adapter_state(model: nn.Module, name: str) -> dict[str, Tensor]:
    """Copies of the adapter's weights under the names that peft uses in its files."""
    return {f"base_model.model.{key}": p.detach().clone() for key, p in adapter_parameters(model, name).items()}


@torch.no_grad()
def load_adapter_state(model: nn.Module, name: str, state: dict[str, Tensor], where: str) -> None:
    """Copy saved weights into an injected adapter. The tensors' names and shapes must match the adapter's exactly.

    Raises:
        PreflabError: a tensor is missing, unknown, or of another shape.
    """
    parameters = {f"base_model.model.{key}": p for key, p in adapter_parameters(model, name).items()}
    missing, surplus = sorted(parameters.keys() - state.keys()), sorted(state.keys() - parameters.keys())
    if missing or surplus:
        raise PreflabError(
            f"{where}: {count(len(missing), 'adapter tensor')} missing, {len(surplus)} unexpected"
            f" (first: {(missing or surplus)[0]})",
            "an adapter made for this base model with the same target modules",
            "load the base model it was trained on, or train the adapter again on this one",
        )
    for key, parameter in parameters.items():
        if parameter.shape != state[key].shape:
            raise PreflabError(
                f"{where}: {key} has shape {tuple(state[key].shape)}",
                f"shape {tuple(parameter.shape)}",
                "use the same lora.rank as the saved adapter",
            )
        parameter.copy_(state[key])


def _has_conv1d(model: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())
