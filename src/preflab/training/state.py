"""Saves and loads the state of a run: N steps, a restart and N more steps equal 2N steps, bit for bit.

A checkpoint is a folder `step-000020` with tensors (safetensors) and one JSON file with everything else and the hash of
each file. It is written to a temporary folder and renamed; only then are older checkpoints deleted. All randomness in
preflab derives its seed from the step (`seeds.derive_seed`), so a restart needs no generator states. They are saved for
user functions that draw from the global generators.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from preflab.errors import PreflabError
from preflab.files import file_hash, new_folder, read_json, write_json
from preflab.training.optimiser_state import fill_optimiser, optimiser_tensors
from preflab.training.tensor_files import read_tensors, write_tensors
from preflab.words import count


class Stateful(Protocol):
    """A part of a run whose state is a small JSON object, such as a KL controller."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class RunState:
    """Everything that determines how a run continues, besides its settings and its data."""

    model: nn.Module
    """Its trainable parameters and its buffers are saved."""
    optimiser: torch.optim.Optimizer
    parts: dict[str, Stateful] = field(default_factory=dict)
    """Further parts with a state, by name."""
    step: int = 0
    """Number of steps done."""

    def save(self, folder: Path) -> None:
        """Write a checkpoint of this step, then remove older ones.

        Raises:
            PreflabError: the disk is full. The former checkpoint is unchanged.
        """
        place = folder / f"step-{self.step:06d}"
        with new_folder(place) as beside:
            write_tensors(beside / "model.safetensors", _learning_state(self.model))
            write_tensors(beside / "optimiser.safetensors", optimiser_tensors(self.optimiser))
            write_tensors(beside / "random.safetensors", {"torch": torch.get_rng_state()})
            hashes = {path.name: file_hash(path) for path in sorted(beside.glob("*.safetensors"))}
            parts = {name: part.state_dict() for name, part in self.parts.items()}
            write_json(
                beside / "state.json", {"step": self.step, "parts": parts, "random": _random_state(), "files": hashes}
            )
        unfinished = folder.glob(".step-*")  # left by a process killed while writing
        for other in (*checkpoints(folder), *unfinished):
            if other != place:
                shutil.rmtree(other)

    def load(self, folder: Path, *, num_steps: int | None = None) -> bool:
        """Load the newest checkpoint of a folder; returns False if there is none.

        Raises:
            PreflabError: the checkpoint is corrupted, belongs to another model, or has done more than `num_steps`. The
                state is then unchanged.
        """
        folders = checkpoints(folder)
        if not folders:
            return False
        place = folders[-1]
        card = read_json(place / "state.json")
        if num_steps is not None and card["step"] > num_steps:
            raise PreflabError(
                f"{place}: {count(card['step'], 'step is', 'steps are')} done, and num_steps is {num_steps}",
                f"num_steps of at least {card['step']}",
                f"raise num_steps, or delete {place} to start this stage again",
            )
        for name, expected in card["files"].items():
            if not (place / name).exists() or file_hash(place / name) != expected:
                raise PreflabError(
                    f"{place / name}: corrupted (its hash differs from the saved one)",
                    "the file as it was saved",
                    f"delete {place} to start this stage again, or restore the file",
                )
        model = read_tensors(place / "model.safetensors")
        optimiser = read_tensors(place / "optimiser.safetensors")
        _check_same_tensors(model, _learning_state(self.model), place)
        fill_optimiser(self.optimiser, optimiser, str(place))
        _fill_model(self.model, model)
        for name, part in self.parts.items():
            part.load_state_dict(card["parts"][name])
        torch.set_rng_state(read_tensors(place / "random.safetensors")["torch"])
        _restore_random_state(card["random"])
        self.step = card["step"]
        return True


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists())


def saved_step(folder: Path) -> int:
    """Number of steps of the newest checkpoint; 0 if there is none."""
    folders = checkpoints(folder)
    return int(folders[-1].name.removeprefix("step-")) if folders else 0


def _learning_state(model: nn.Module) -> dict[str, Tensor]:
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in model.state_dict().items() if name in learning | buffers}


@torch.no_grad()
def _fill_model(model: nn.Module, saved: dict[str, Tensor]) -> None:
    state = model.state_dict()
    for name, tensor in saved.items():
        state[name].copy_(tensor)


def _check_same_tensors(saved: dict[str, Tensor], current: dict[str, Tensor], place: Path) -> None:
    tied = {
        name
        for name in current.keys() - saved.keys()
        if any(current[name].data_ptr() == current[n].data_ptr() for n in saved)
    }
    names = current.keys() & saved.keys()
    reshaped = {name for name in names if current[name].shape != saved[name].shape}
    different = sorted(((current.keys() - tied) ^ saved.keys()) | reshaped)
    if different:
        raise PreflabError(
            f"{place}: {count(len(different), 'tensor does', 'tensors do')} not belong to this model "
            f"(first: {different[0]})",
            "a checkpoint of the same model and settings",
            f"delete {place} to start this stage again",
        )


def _random_state() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, cached],
    }


def _restore_random_state(saved: dict[str, Any]) -> None:
    version, numbers, gauss = saved["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = saved["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
