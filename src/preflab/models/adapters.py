"""LoRA adapters on a shared base: injecting, naming, reading and writing their weights (Hu et al. 2021)."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from preflab.errors import PreflabError, nearest
from preflab.settings.learning import LoraSettings


def add_adapter(model: Any, name: str, lora: LoraSettings, seed: int) -> None:
    """Inject one more LoRA adapter into a model, in place. B starts at zero, so nothing changes yet.

    Raises:
        PreflabError: no linear layer has one of the target names.
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = target_modules(model, lora.target_modules)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0, fan_in_fan_out=_has_conv1d(model)
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft warns that a second adapter shares the model, which is the purpose here.
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, name)


def target_modules(model: Any, wanted: str | tuple[str, ...]) -> list[str]:
    """Full names of the linear layers that carry adapters; "all-linear" leaves out the language-model head."""
    from peft.tuners.lora import LoraLayer
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    carriers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D | LoraLayer)
        and module is not head
        and not any(part in ("base_layer", "lora_A", "lora_B") for part in name.split("."))
    }
    if wanted == "all-linear":
        return list(carriers)
    endings = (wanted,) if isinstance(wanted, str) else wanted
    found = [name for name in carriers if name.split(".")[-1] in endings or name in endings]
    if not found:
        known = sorted({name.split(".")[-1] for name in carriers})
        raise PreflabError(
            f"lora.target_modules: no linear layer is called {', '.join(endings)}",
            f"one of {', '.join(known)}" + (f" (near it: {near})" if (near := nearest(endings[0], known)) else ""),
            'name layers of this model, or use "all-linear"',
        )
    return found


def adapter_parameters(model: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The adapter's parameters under their names in the model, with the adapter's own name left out."""
    middle = f".{name}."
    return {
        key.replace(middle, "."): parameter
        for key, parameter in model.named_parameters()
        if middle in key and ".lora_" in key
    }


def adapter_state(model: nn.Module, name: str) -> dict[str, Tensor]:
    """The adapter's weights by name, as peft names them in its files."""
    return {f"base_model.model.{key}": p.detach().clone() for key, p in adapter_parameters(model, name).items()}


@torch.no_grad()
def load_adapter_state(model: nn.Module, name: str, state: dict[str, Tensor], where: str) -> None:
    """Copy saved weights into an injected adapter; every tensor must be used and every parameter filled.

    Raises:
        PreflabError: a tensor is missing, left over, or of another shape.
    """
    parameters = {f"base_model.model.{key}": p for key, p in adapter_parameters(model, name).items()}
    missing, surplus = sorted(parameters.keys() - state.keys()), sorted(state.keys() - parameters.keys())
    if missing or surplus:
        raise PreflabError(
            f"{where}: {len(missing)} adapter tensors missing, {len(surplus)} not wanted"
            f" (first: {(missing or surplus)[0]})",
            "an adapter made for this base model with the same target modules",
            "train the adapter on this base, or load the base it was trained on",
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
