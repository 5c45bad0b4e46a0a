"""Shared by the training stages: makes the accelerator and writes the finished language model."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.settings.learning import RunSettings
from preflab.stages.base import StageContext, StageResult
from preflab.words import three_digits

if TYPE_CHECKING:
    from preflab.models.trunk import Trunk

CHECKPOINT = "checkpoint"


def accelerator_for(ctx: StageContext, run: RunSettings) -> Any:
    """The accelerator of a stage; the trackers that the recipe names are started.

    Raises:
        PreflabError: a tracker is not installed; accelerate would silently ignore it.
    """
    from preflab.training.processes import make_accelerator
    from preflab.training.state import saved_step

    for tracker in run.log_with:
        if importlib.util.find_spec(tracker) is None:
            raise PreflabError(
                f"stage {ctx.name}: run.log_with names {tracker}, which is not installed",
                "an installed tracker",
                "pip install 'preflab[trackers]', or remove it: metrics.jsonl contains all metrics",
            )
    accelerator = make_accelerator(log_with=run.log_with, folder=ctx.folder)
    if run.log_with:
        # Steps after the checkpoint are run again, so TensorBoard discards them.
        forget = {"tensorboard": {"purge_step": saved_step(ctx.folder / CHECKPOINT)}}
        accelerator.init_trackers("preflab", config={"stage": ctx.name, "seed": ctx.seed}, init_kwargs=forget)
    return accelerator


def finish_model(folder: Path, trunk: Trunk, accelerator: Any, metrics: Sequence[dict[str, Any]]) -> StageResult:
    """Write the policy role as a Hugging Face folder `model/`, remove the checkpoint, and return the stage's result.

    Args:
        folder: the stage's run folder.
        trunk: the trained model.
        accelerator: the stage's accelerator, which is shut down.
        metrics: the rows of metrics.jsonl, for the first and the last loss.
    """
    from preflab.training.processes import finish_trackers
    from preflab.training.standstill import said_of_loss

    if accelerator.is_main_process:
        save_language_model(folder, trunk)
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    accelerator.wait_for_everyone()
    finish_trackers(accelerator)
    first, last = metrics[0]["loss/nll"], metrics[-1]["loss/nll"]
    figures = {"loss_first": first, "loss_last": last, "num_steps": len(metrics)}
    summary = f"loss {three_digits(first)} → {three_digits(last)}{said_of_loss(metrics)}"
    return StageResult(summary, figures)


def save_language_model(folder: Path, trunk: Trunk) -> None:
    """Save the policy in `folder/model`: adapters merged, with its tokenizer and stop tokens in its configuration."""
    from preflab.conversations.renderer import name_stops
    from preflab.files import new_folder
    from preflab.models.merge import merged_language_model
    from preflab.training.tensor_files import system_errors

    with new_folder(folder / "model") as beside, system_errors(folder / "model"):
        model = merged_language_model(trunk, "policy")
        name_stops(model, trunk.tokenizer)
        model.save_pretrained(beside)
        trunk.tokenizer.save_pretrained(beside)
