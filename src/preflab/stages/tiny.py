"""Stage `tiny`: a small base model and its tokenizer from scratch.

A Llama learns every token of a `text` column. A T5 learns from pairs of texts, so it keeps its random weights here and
learns in stage `sft`; the data give it its words.
"""

from __future__ import annotations

from collections.abc import Sequence

from preflab.errors import PreflabError
from preflab.settings.learning import TinySettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.data import Row

VERSION = 1
distributed = True


def run(ctx: StageContext) -> StageResult:
    """Build the tokenizer and a randomly initialised model, train a Llama, and save both in `model/`."""
    return _make_t5(ctx) if ctx.settings.architecture == "t5" else _train_llama(ctx)


def _make_t5(ctx: StageContext) -> StageResult:
    from preflab.files import new_folder
    from preflab.models.tiny import build_t5, build_tokenizer

    settings: TinySettings = ctx.settings
    texts = [text for row in ctx.data(settings.text) for text in _texts(row)]
    tokenizer = build_tokenizer(texts, context=settings.context, most_words=settings.most_words)
    model = build_t5(
        tokenizer,
        num_layers=settings.num_layers,
        hidden_size=settings.hidden_size,
        num_heads=settings.num_heads,
        context=settings.context,
        seed=ctx.seed,
    )
    if ctx.is_main_process:
        with new_folder(ctx.folder / "model") as beside:
            model.save_pretrained(beside)
            tokenizer.save_pretrained(beside)
    num = sum(parameter.numel() for parameter in model.parameters())
    return StageResult(
        f"a T5 of {num:,} random weights, {len(tokenizer):,} words",
        {"num_parameters": num, "num_words": len(tokenizer)},
    )


def _texts(row: Row) -> list[str]:
    """The texts of a row: `text`, or `prompt` and `completion`."""
    names = ("text",) if "text" in row else ("prompt", "completion")
    return [_text(row, name) for name in names]


def _train_llama(ctx: StageContext) -> StageResult:
    from preflab.models.tiny import build_model, build_tokenizer
    from preflab.models.trunk import Trunk
    from preflab.policy.sft import train_sft
    from preflab.stages.common.learning import accelerator_for, finish_model
    from preflab.training.batches import TokenSequence

    settings: TinySettings = ctx.settings
    rows = ctx.data(settings.text)
    _refuse_conversations(rows)
    texts = [_text(row) for row in rows]
    tokenizer = build_tokenizer(texts, context=settings.context, most_words=settings.most_words)
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
    compute, packing = ctx.precision, ctx.device.packing
    trunk = Trunk(model, tokenizer, lora=None, roles=("policy",), seed=ctx.seed, compute=compute, packing=packing)
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


def _text(row: Row, name: str = "text") -> str:
    """The text of a row's column.

    Raises:
        PreflabError: the column holds something else, e.g. a conversation, whose Python `repr` would be learned.
    """
    text = row.column(name)
    if not isinstance(text, str):
        raise PreflabError(
            f"{row.source}: the column `{name}` contains {type(text).__name__}",
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
