"""Stage `sft`: supervised fine-tuning on demonstrations, loss on the completion's tokens only (R2)."""

from __future__ import annotations

from preflab.settings.learning import SftSettings
from preflab.stages.base import StageContext, StageResult

VERSION = 2
distributed = True


def run(ctx: StageContext) -> StageResult:
    """Fine-tune the model on the rows' `prompt` and `completion`; leave it, adapters merged, in `model/`."""
    from preflab.models.facts import model_facts
    from preflab.models.loading import load_causal_lm, load_tokenizer
    from preflab.models.trunk import Trunk
    from preflab.policy.sft import Demonstration, encode_demonstrations, train_sft
    from preflab.stages.data import prompt_of
    from preflab.stages.learning import accelerator_for, finish_model
    from preflab.training.order import steps_per_epoch

    settings: SftSettings = ctx.settings
    rows = ctx.data(settings.data)
    demonstrations = [
        Demonstration(prompt_of(row, without=("completion",)), str(row.column("completion")), row.source)
        for row in rows
    ]
    folder = ctx.model_folder(settings.model)
    tokenizer = load_tokenizer(folder)
    model = load_causal_lm(folder, dtype=ctx.device.dtype)
    context = model_facts(model, tokenizer).context_length
    limits = [limit for limit in (settings.max_tokens, context) if limit is not None]
    sequences = encode_demonstrations(tokenizer, demonstrations, min(limits, default=2**31))
    trunk = Trunk(model, tokenizer, lora=settings.lora, roles=("policy",), seed=ctx.seed)
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
    return finish_model(ctx, trunk, accelerator, metrics)
