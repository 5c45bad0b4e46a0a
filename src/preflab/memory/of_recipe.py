"""The predicted memory of every stage of a recipe that holds a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflab.memory.arithmetic import Estimate, estimate
from preflab.memory.choices import choose, is_auto, with_choice
from preflab.memory.load import KINDS, Lengths, Load, load_of
from preflab.memory.model_sizes import ModelSizes
from preflab.memory.remedies import Remedy, remedies


@dataclass(frozen=True)
class Prediction:
    """The predicted memory of one stage on a CPU and on a GPU."""

    stage: str
    load: Load
    cpu: Estimate
    gpu: Estimate
    cpu_remedies: list[Remedy]
    gpu_remedies: list[Remedy]
    not_counted: tuple[str, ...] = ()
    """Parts of the memory of the stage's model that the arithmetic leaves out, in words."""


def predict(
    stage: str, kind: str, settings: Any, model: ModelSizes, lengths: Lengths, *, half: bool, free: int, gpu: bool
) -> Prediction:
    """Predict a stage. `auto` is replaced by what fits into `free` bytes on the device that is used here."""
    if is_auto(settings):
        choice = choose(model, kind, settings, lengths, free, half=half, accelerator=gpu)
        settings = with_choice(settings, choice.tokens, choice.checkpointing)
    return of_load(stage, load_of(kind, settings, lengths, half=half), model)


def of_load(stage: str, load: Load, model: ModelSizes) -> Prediction:
    """The prediction of a load on both kinds of device."""
    cpu, gpu = (estimate(model, load, accelerator=accelerator) for accelerator in (False, True))
    on_cpu, on_gpu = remedies(model, load), remedies(model, load, accelerator=True)
    return Prediction(stage, load, cpu, gpu, on_cpu, on_gpu, model.not_counted)


def first_model(stages: Mapping[str, Any], name: str, finished: Callable[[str], Path | None]) -> str | Path | None:
    """The model whose configuration a stage's model has: a finished stage's folder, or the first model before it.

    None if it is the small model of a stage that has not run.
    """
    seen = getattr(stages[name], "model", None)
    while seen in stages:
        folder = finished(str(seen))
        if folder is not None:
            return folder
        seen = getattr(stages[str(seen)], "model", None)
    return seen


def predictable(kinds: Mapping[str, str]) -> list[str]:
    """The stages, by name, whose kind the arithmetic knows."""
    return [name for name, kind in kinds.items() if kind in KINDS]
