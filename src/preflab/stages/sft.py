"""Stage `sft`: supervised fine-tuning on demonstrations, with loss on the completion's tokens only (R2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.settings.learning import SftSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.stage_facts import StageFacts

if TYPE_CHECKING:
    from preflab.models.trunk import Trunk
    from preflab.policy.sft import Demonstration
    from preflab.training.batches import TokenSequence
    from preflab.training.too_long import LongRows

VERSION = 3
distributed = True


def run(ctx: StageContext) -> StageResult:
    """Fine-tune the model on demonstrations and save it in `model/`, adapters merged."""
    from preflab.policy.sft import train_sft
    from preflab.stages.common.learning import finish_model
    from preflab.training.row_order import steps_per_epoch

    asked = _Asked.of(ctx)
    settings, stage = asked.settings, asked.stage
    opened = _open(asked)
    num_steps = settings.num_epochs * steps_per_epoch(len(opened.sequences), settings.num_sequences_per_step)
    metrics = train_sft(
        opened.trunk,
        opened.sequences,
        settings,
        num_steps=num_steps,
        folder=stage.folder,
        seed=stage.seed,
        accelerator=asked.accelerator,
        name=stage.name,
    )
    result = finish_model(stage.folder, opened.trunk, asked.accelerator, metrics)
    notes, figures = _unlearned(asked.demonstrations, settings)
    figures = {**result.figures, **figures, **opened.long.figures, **opened.lengths}
    return replace(result, summary=result.summary + notes + opened.long.said, figures=figures)


@dataclass(frozen=True)
class _Asked:
    """The checked inputs of the stage, before a model is opened."""

    settings: SftSettings
    stage: StageFacts
    demonstrations: list[Demonstration]
    base: Path | str
    """The model to be trained."""
    accelerator: Any

    @classmethod
    def of(cls, ctx: StageContext) -> _Asked:
        """Reads the demonstrations, locates the model, and starts the accelerator.

        Raises:
            PreflabError: demonstrations cannot be read, or a tracker is not installed.
        """
        from preflab.policy.sft import Demonstration
        from preflab.stages.common.learning import accelerator_for

        settings: SftSettings = ctx.settings
        return cls(
            settings=settings,
            stage=StageFacts.of(ctx),
            demonstrations=[Demonstration(*pair) for pair in ctx.demonstrations(settings.data)],
            base=ctx.model_folder(settings.model),
            accelerator=accelerator_for(ctx, settings.run),
        )


@dataclass(frozen=True)
class _Opened:
    """The model with its policy role, and the tokens of the demonstrations."""

    trunk: Trunk
    sequences: list[TokenSequence]
    long: LongRows
    lengths: dict[str, float]


def _open(asked: _Asked) -> _Opened:
    """Open the model and encode the demonstrations.

    Raises:
        PreflabError: the model cannot be opened, or demonstrations are too long for it.
    """
    from preflab.models.language_model import open_language_model
    from preflab.models.precision import weights_dtype
    from preflab.policy.sft import encode_demonstrations
    from preflab.stages.common.row_lengths import fix_row_lengths
    from preflab.training.too_long import LongRows

    settings, stage = asked.settings, asked.stage
    opened = open_language_model(asked.base, dtype=weights_dtype(stage.precision, learns=settings.lora is None))
    long = LongRows(opened.limits(settings.max_tokens), settings.too_long)
    sequences = encode_demonstrations(opened.renderer(), asked.demonstrations, long, learn=settings.learn)
    trunk = opened.trunk(
        ("policy",), lora=settings.lora, seed=stage.seed, compute=stage.precision, packing=stage.packing
    )
    return _Opened(trunk, sequences, long, fix_row_lengths(trunk.row_lengths, sequences))


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
    notes = "".join(f"; {num} {words.format('turn' if num == 1 else 'turns')}" for words, num in told.items())
    return notes, {"num_turns_not_learned": float(sum(told.values()))} if told else {}
