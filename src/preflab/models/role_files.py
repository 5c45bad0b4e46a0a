"""Saves and loads a role's weights: a LoRA adapter in peft's format or full weights, and the head.

adapter_model.safetensors, adapter_config.json    with LoRA (peft can open the folder)
weights.safetensors                               full fine-tuning
head.safetensors                                  value and reward: linear map, gain, offset
role.json                                         role, pooling, adapter settings, hash of the base
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.files import new_folder, read_json, write_json
from preflab.models.adapters import adapter_parameters, adapter_state, load_adapter_state, saved_config
from preflab.models.merge import merged_language_model
from preflab.models.trunk import Trunk
from preflab.training.tensor_files import read_tensors, write_tensors
from preflab.words import count


def save_role(trunk: Trunk, role: str, folder: Path, *, base: str = "") -> None:
    """Save one role's weights and head in a folder. The folder is written completely or not at all.

    Args:
        trunk: the trunk that holds the role.
        role: `policy`, `value` or `reward`.
        folder: the folder to write.
        base: id of the base weights that the adapter belongs to; checked on loading.
    """
    with new_folder(folder) as beside:
        if trunk.lora is not None:
            write_tensors(beside / "adapter_model.safetensors", adapter_state(trunk.model, role))
            write_json(beside / "adapter_config.json", saved_config(trunk.model, role, trunk.targets[role]))
        else:
            write_tensors(beside / "weights.safetensors", trunk.models[role].state_dict())
        if role in trunk.heads:
            write_tensors(beside / "head.safetensors", trunk.heads[role].state_dict())
        write_json(beside / "role.json", _card(trunk, role, base))


def load_role(trunk: Trunk, role: str, folder: Path, *, base: str = "") -> None:
    """Load a saved role. The names and shapes of the saved tensors must match the role's parameters exactly.

    Raises:
        PreflabError: a file is missing or corrupted, was saved for another base or another storage of its weights, or
            does not fit.
    """
    card = read_json(folder / "role.json")
    if base and card["base"] and card["base"] != base:
        raise PreflabError(
            f"{folder}: trained on the base {card['base']}", f"the base {base}", "load the base it was trained on"
        )
    if trunk.lora is not None:
        _check_storage(trunk.lora.base, base_storage(card), folder)
        load_adapter_state(trunk.model, role, read_tensors(folder / "adapter_model.safetensors"), str(folder))
    else:
        fill_module(trunk.models[role], folder / "weights.safetensors")
    if role in trunk.heads:
        fill_module(trunk.heads[role], folder / "head.safetensors")


def base_storage(card: Mapping[str, Any]) -> str:
    """How the base was stored when an adapter was trained on it (`lora.base`), from its `role.json`."""
    return str((card.get("lora") or {}).get("base", "as_loaded"))


def _check_storage(stored: str, trained: str, folder: Path) -> None:
    if stored != trained:
        raise PreflabError(
            f"{folder}: trained on a base with lora.base: {trained}",
            f"an adapter for lora.base: {stored}, since a quantised base computes other numbers",
            f"load it with lora.base: {trained}, or train it again",
        )


@torch.no_grad()
def init_value_from_reward(trunk: Trunk, source: Trunk) -> bool:
    """Initialise the value role from a reward role: copy its adapter or weights, and its head with gain and offset.

    A critic that starts as the reward model can judge complete answers from the first step (Huang et al. 2024).

    Args:
        trunk: the trunk whose value role is set.
        source: the trunk with the reward role: `trunk` itself, or a separate one with the same architecture.

    Returns:
        True if the role was set; False, without any change, if adapters or architectures differ.
    """
    if trunk.lora is None:
        return _copy_full(trunk, source)
    theirs = adapter_parameters(source.model, "reward") if source is trunk else {}
    mine = adapter_parameters(trunk.model, "value")
    if theirs.keys() != mine.keys() or any(theirs[name].shape != mine[name].shape for name in mine):
        return False
    for name, parameter in mine.items():
        parameter.copy_(theirs[name])
    trunk.head("value").fold_in(source.head("reward"))
    return True


def _copy_full(trunk: Trunk, source: Trunk) -> bool:
    merged = source.models["reward"] if source.lora is None else merged_language_model(source, "reward")
    theirs = source.family.without_head(merged)
    ours, state = trunk.models["value"].state_dict(), theirs.state_dict()
    if ours.keys() != state.keys() or any(ours[name].shape != state[name].shape for name in ours):
        return False
    trunk.models["value"].load_state_dict(state)
    trunk.head("value").fold_in(source.head("reward"))
    return True


def fill_module(module: Any, path: Path) -> None:
    """Load the tensors of a file into a module; their names and shapes must match exactly.

    Raises:
        PreflabError: the file is missing or corrupted, or does not fit.
    """
    state = read_tensors(path)
    known = module.state_dict()
    tied = {name for name in known if name not in state and _is_tied(module, name, state)}
    missing, surplus = sorted(known.keys() - state.keys() - tied), sorted(state.keys() - known.keys())
    if missing or surplus or any(known[name].shape != state[name].shape for name in state):
        raise PreflabError(
            f"{path}: {count(len(missing), 'tensor')} missing, {len(surplus)} unexpected or of another shape",
            f"the {len(known)} tensors of this module (first missing: {missing[:1]})",
            "load it into a model of the architecture it was saved from",
        )
    module.load_state_dict(state, strict=False)


def _is_tied(module: Any, name: str, state: dict[str, Tensor]) -> bool:
    known = module.state_dict()
    return any(known[other].data_ptr() == known[name].data_ptr() for other in state if other in known)


def _card(trunk: Trunk, role: str, base: str) -> dict[str, Any]:
    return {
        "role": role,
        "base": base,
        "pooling": trunk.pooling,
        "lora": trunk.lora.model_dump() if trunk.lora else None,
        "left_out": dict(trunk.targets[role].left_out) if trunk.lora else {},
        "hidden_size": trunk.model.config.get_text_config().hidden_size,
    }
