"""The state of an optimiser as named tensors, so that a checkpoint needs no pickle.

0.exp_avg, 0.exp_avg_sq, 0.step                      torch's AdamW: parameter 0
0.state1, 0.absmax1, 0.state2, 0.absmax2, 0.step     8-bit AdamW: levels and the scale of each block
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from preflab.errors import PreflabError

LEVELS = {"qmap1": "dynamic", "qmap2": "udynamic"}
"""Tables of the levels of 8-bit states. They are constants shared by all parameters, so they are not saved."""
NESTED = "__bnb_optimizer_quant_state__"
"""The key under which bitsandbytes' `state_dict` hides quantised states from FSDP."""


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The states of all parameters by number and name."""
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, state in optimiser.state_dict()["state"].items()
        for key, value in _flat(state).items()
        if key not in LEVELS
    }


def fill_optimiser(optimiser: torch.optim.Optimizer, saved: dict[str, Tensor], where: str) -> None:
    """Set the states of an optimiser to saved ones, bit for bit.

    Raises:
        PreflabError: the states are those of an optimiser with other precision. Nothing is changed.
    """
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in saved.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    levels = getattr(_unwrapped(optimiser), "name2qmap", None)
    if (levels is None) == any("state1" in tensors for tensors in state.values()) and state:
        raise PreflabError(
            f"{where}: saved with optimiser.states: {'8bit' if levels is None else 'float32'}",
            f"states of an optimiser with optimiser.states: {'float32' if levels is None else '8bit'}",
            "delete the checkpoint to start this stage again, or set optimiser.states back",
        )
    if levels is not None:
        for tensors in state.values():
            tensors["step"] = int(tensors["step"])
            if tensors["state1"].dtype == torch.uint8:
                tensors |= {key: levels[name] for key, name in LEVELS.items()}
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _unwrapped(optimiser: Any) -> Any:
    """The optimiser inside accelerate's wrapper."""
    return getattr(optimiser, "optimizer", optimiser)


def _flat(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != NESTED} | state.get(NESTED, {})
