"""Replaces `auto` in a stage's optimiser settings by what fits into memory, once per run folder.

The choice is written into `memory.json` of the run folder before the stage starts; a resumed stage reads it there.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from preflab.memory.choices import Choice, choose, is_auto, with_choice
from preflab.memory.free import USED, free_device_memory, free_memory, gib
from preflab.memory.load import Lengths
from preflab.stages.base import StageContext
from preflab.words import percent

logger = logging.getLogger(__name__)

FILE = "memory.json"
USUAL_TOKENS = 4096
"""tokens_per_micro_batch of a stage that makes its own small model, whose sizes nothing says before."""
USUAL_PROMPT = 512
"""Tokens of a prompt that completions are decoded from, as assumed before the data are read."""


def memory_choice(ctx: StageContext) -> tuple[int, bool] | None:
    """(tokens_per_micro_batch, gradient_checkpointing) of a stage, chosen now or read from its folder.

    None if its settings leave nothing to memory.

    Raises:
        PreflabError: the stage's model cannot be read.
    """
    from preflab.files import read_json, write_json

    if not is_auto(ctx.settings):
        return None
    path = ctx.folder / FILE
    if path.is_file():
        content = read_json(path)
        return int(content["tokens_per_micro_batch"]), bool(content["gradient_checkpointing"])
    import torch

    accelerator = torch.cuda.is_available()
    free = free_device_memory() if accelerator else free_memory()
    model = getattr(ctx.settings, "model", None)
    if model is None:
        tokens, checkpointing = USUAL_TOKENS, False
        logger.warning("%s: %d tokens per micro-batch: it makes its own small model", ctx.name, tokens)
        content = {}
    else:
        choice = _choose(ctx, ctx.model_folder(model), free, accelerator)
        tokens, checkpointing = choice.tokens, choice.checkpointing
        _say(ctx.name, choice, free)
        content = {"predicted_bytes": choice.estimate.total, "free_bytes": free}
    write_json(path, {"tokens_per_micro_batch": tokens, "gradient_checkpointing": checkpointing, **content})
    return tokens, checkpointing


def with_memory_choice(ctx: StageContext, chosen: tuple[int, bool] | None) -> StageContext:
    """The context with the chosen values in place of `auto`."""
    return ctx if chosen is None else replace(ctx, settings=with_choice(ctx.settings, *chosen))


def _choose(ctx: StageContext, model: Path | str, free: int, accelerator: bool) -> Choice:
    from preflab.memory.model_sizes import ModelSizes

    sizes = ModelSizes.read(model)
    half = ctx.precision != "float32"
    return choose(
        sizes, ctx.recipe.kind(ctx.name), ctx.settings, Lengths(USUAL_PROMPT, USUAL_PROMPT), free,
        half=half, accelerator=accelerator,
    )  # fmt: skip


def _say(name: str, choice: Choice, free: int) -> None:
    """Log the choice in one line. A command shows warnings only, as it shows what `precision: auto` uses."""
    how = "with" if choice.checkpointing else "without"
    text = (
        f"{name}: {choice.tokens:,} tokens per micro-batch, {how} activation checkpointing; "
        f"predicted peak {gib(choice.estimate.total)} of {gib(free)} free"
    )
    if not choice.fits:
        text += f", more than {percent(USED)}: see `preflab check --memory`"
    logger.warning("%s", text)
