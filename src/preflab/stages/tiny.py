"""Stage `tiny`: trains a small base model and its tokenizer from scratch on a `text` column, on every token."""

from __future__ import annotations

from collections.abc import Sequence

from preflab.errors import PreflabError
from preflab.settings.learning import TinySettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.data import Row

VERSION = 1
distributed = True


def run(ctx: StageContext) -> StageResult:
    """Build the tokenizer and a randomly initialised model, train the model, and save both in `model/`."""
    from preflab.models.tiny import build_model, build_tokenizer
    from preflab.models.trunk import Trunk
    from preflab.policy.sft import train_sft
    from preflab.stages.common.learning import accelerator_for, finish_model
    from preflab.training.batches import TokenSequence

    settings: TinySettings = ctx.settings
    rows = ctx.data(settings.text)
    _refuse_conversations(rows)
    texts = [_text(row) for row in rows]
    tokenizer = build_tokenizer(texts, context=settings.context)
    sequences = [
        TokenSequence((tokenizer.bos_token_id,), (*ids, tokenizer.eos_token_id))
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]
    ]
    for row, sequence in zip(rows, sequences, strict=True):
        if len(sequence) > settings.context:
            raise PreflabError(
                f"{row.source}: {len(sequence)} tokens, including the begin and end tokens",
                f"at most {settings.context} (the setting `context` of stage {ctx.name})",
                "shorten the text or raise `context`",
            )
    model = build_model(
        tokenizer,
        num_layers=settings.num_layers,
        hidden_size=settings.hidden_size,
        num_heads=settings.num_heads,
        context=settings.context,
        seed=ctx.seed,
    )
    trunk = Trunk(model, tokenizer, lora=None, roles=("policy",), seed=ctx.seed, compute=ctx.precision)
    accelerator = accelerator_for(ctx, settings.run)
    metrics = train_sft(
        trunk,
        sequences,
        settings,
        num_steps=settings.num_steps,
        folder=ctx.folder,
        seed=ctx.seed,
        accelerator=accelerator,
        name=ctx.name,
    )
    return finish_model(ctx.folder, trunk, accelerator, metrics)


def _text(row: Row) -> str:
    """The text of a row.

    Raises:
        PreflabError: the column holds something else, e.g. a conversation, whose Python `repr` would be learned.
    """
    text = row.column("text")
    if not isinstance(text, str):
        raise PreflabError(
            f"{row.source}: the column `text` contains {type(text).__name__}",
            "a text",
            "write a text into the row, or train on conversations with stage `sft`",
        )
    return text


def _refuse_conversations(rows: Sequence[Row]) -> None:
    from preflab.store.formats.columns import OF_CONVERSATION

    columns = sorted(rows[0].defaulted.intersection(OF_CONVERSATION))
    if columns:
        raise PreflabError(
            f"{rows[0].source}: `defaults` sets `{columns[0]}`, which only conversations have",
            "plain texts",
            "remove it from `defaults`",
        )
