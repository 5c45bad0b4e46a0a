"""Stage `sft`: supervised fine-tuning on demonstrations, with loss on the completion's tokens only (R2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from preflab.settings.learning import SftSettings
from preflab.stages.base import StageContext, StageResult

if TYPE_CHECKING:
    from preflab.policy.sft import Demonstration

VERSION = 3
distributed = True


def run(ctx: StageContext) -> StageResult:
    """Fine-tune the model on demonstrations and save it in `model/`, adapters merged."""
    from preflab.models.language_model import open_language_model
    from preflab.models.precision import weights_dtype
    from preflab.policy.sft import Demonstration, encode_demonstrations, train_sft
    from preflab.stages.common.learning import accelerator_for, finish_model
    from preflab.stages.common.row_lengths import fix_row_lengths
    from preflab.training.row_order import steps_per_epoch
    from preflab.training.too_long import LongRows

    settings: SftSettings = ctx.settings
    demonstrations = [Demonstration(*pair) for pair in ctx.demonstrations(settings.data)]
    dtype = weights_dtype(ctx.precision, learns=settings.lora is None)
    opened = open_language_model(ctx.model_folder(settings.model), dtype=dtype)
    long = LongRows(opened.limits(settings.max_tokens), settings.too_long)
    sequences = encode_demonstrations(opened.renderer(), demonstrations, long, learn=settings.learn)
    trunk = opened.trunk(("policy",), lora=settings.lora, seed=ctx.seed, compute=ctx.precision)
    lengths = fix_row_lengths(trunk.row_lengths, sequences)
    accelerator = accelerator_for(ctx, settings.run)
    metrics = train_sft(
        trunk,
        sequences,
        settings,
        num_steps=settings.num_epochs * steps_per_epoch(len(sequences), settings.num_sequences_per_step),
        folder=ctx.folder,
        seed=ctx.seed,
        accelerator=accelerator,
        name=ctx.name,
    )
    result = finish_model(ctx, trunk, accelerator, metrics)
    remarks, figures = _unlearned(demonstrations, settings)
    figures = {**result.figures, **figures, **long.figures, **lengths}
    return replace(result, summary=result.summary + remarks + long.said, figures=figures)


def _unlearned(demonstrations: Sequence[Demonstration], settings: SftSettings) -> tuple[str, dict[str, float | str]]:
    """Text for the summary and a figure: how many assistant turns were not trained on, and why; empty if none."""
    if settings.learn == "last":
        reasons = {
            "earlier {} of the assistant not trained on (set learn: all to include them)": sum(
                len(r.earlier) for r in demonstrations
            )
        }
    else:
        reasons = {
            "{} of the assistant not trained on, because nothing precedes it": sum(
                r.num_opening for r in demonstrations
            ),
            "{} of the assistant not trained on, because the data exclude it": sum(
                r.num_weightless for r in demonstrations
            ),
        }
    told = {words: num for words, num in reasons.items() if num}
    remarks = "".join(f"; {num} {words.format('turn' if num == 1 else 'turns')}" for words, num in told.items())
    return remarks, {"num_turns_not_learned": float(sum(told.values()))} if told else {}
