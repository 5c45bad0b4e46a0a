"""Stage `rating`: trains a reward model on ratings and reports its errors on held-out completions (R9)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from preflab.settings.rating import RatingSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.preference_data import PreferenceData, read_preferences
from preflab.stages.common.reward_base import RewardBase, reference_scores, reference_sequences
from preflab.stages.common.row_lengths import fix_row_lengths
from preflab.words import count, three_digits

if TYPE_CHECKING:
    from torch import Tensor

    from preflab.rewards.ratings import Rated, Scale
    from preflab.training.too_long import LongRows

VERSION = 3
distributed = True

REPORT, HEADS = "reward_report.json", "criteria.safetensors"


def run(ctx: StageContext) -> StageResult:
    """Train one head per criterion, combine and normalise the heads, and save the model in `reward/` with figures."""
    from preflab.files import read_jsonl, write_json
    from preflab.rewards.ratings import choose_criteria, fit_scales
    from preflab.rewards.regression import rating_scores, train_on_ratings
    from preflab.rewards.train import normalise
    from preflab.stages.common.learning import CHECKPOINT, accelerator_for
    from preflab.training.held_out import held_out_prompts, parted, refuse_all_held_out
    from preflab.training.row_order import steps_per_epoch
    from preflab.training.standstill import said_of_loss
    from preflab.training.tensor_files import write_tensors

    settings: RatingSettings = ctx.settings
    data = read_preferences(ctx, settings.preferences)
    other = read_preferences(ctx, settings.test_preferences) if settings.test_preferences else None
    criteria = choose_criteria(data.preferences, settings.criteria)
    base = RewardBase.load(ctx)
    long = base.long_rows(settings.too_long)
    rated = _rows(base, data, criteria, long)
    train, held_out = parted(rated, held_out_prompts(data.asked, settings.held_out))
    refuse_all_held_out(len(train), len(held_out), data.name, "rated completions")
    parts = {"train": train, "held_out": held_out, "test": _rows(base, other, criteria, long) if other else []}
    long.check(len(rated))
    samples = reference_sequences(ctx, base)
    lengths = fix_row_lengths(
        base.trunk.row_lengths, [*(row.sequence for rows in parts.values() for row in rows), *samples]
    )
    scales = fit_scales(train, list(criteria))
    accelerator = accelerator_for(ctx, settings.run)
    heads = train_on_ratings(
        base.trunk,
        train,
        scales,
        settings,
        num_steps=settings.num_epochs * steps_per_epoch(len(train), settings.num_completions_per_step),
        folder=ctx.folder,
        seed=ctx.seed,
        accelerator=accelerator,
        name=ctx.name,
    )
    budget = settings.optimiser.tokens_per_micro_batch
    scores = {name: rating_scores(base.trunk, rows, budget) for name, rows in parts.items()}
    weights = list(criteria.values())
    base.trunk.heads["reward"] = heads.combined(weights)
    raw = {name: _combined(by_criterion, weights) for name, by_criterion in scores.items()}
    reference = reference_scores(ctx, base, samples, [raw["train"], raw["held_out"]])
    normalise(base.trunk, reference)
    origin = {"train": data.origin, "test": other.origin if other else None}
    report = _report(ctx, base, criteria, scales, parts, scores, raw, reference, origin)
    if accelerator.is_main_process:
        base.save(ctx.folder / "reward")
        write_tensors(ctx.folder / "reward" / HEADS, heads.state_dict())
        write_json(ctx.folder / REPORT, report)
        shutil.rmtree(ctx.folder / CHECKPOINT, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    summary = long.said + said_of_loss(read_jsonl(ctx.folder / "metrics.jsonl"))
    return _result(report, {**long.figures, **lengths}, summary)


def _rows(base: RewardBase, data: PreferenceData, criteria: Mapping[str, float], long: LongRows) -> list[Rated]:
    from preflab.rewards.ratings import make_rated

    rated = make_rated(data.preferences, data.prompts, data.completions, base.uncut, list(criteria))
    cut = [(row, long.fitted([row.sequence], data.where(row.prompt_id))) for row in rated]
    return [replace(row, sequence=sequences[0]) for row, sequences in cut if sequences is not None]


def _combined(scores: Tensor, weights: Sequence[float]) -> Tensor:
    """(N,) Σ weight · score / Σ |weight| from (N, criteria) scores, equal to the combined head's output."""
    shares = scores.new_tensor(weights)
    return scores @ (shares / shares.abs().sum())


def _report(
    ctx: StageContext,
    base: RewardBase,
    criteria: Mapping[str, float],
    scales: Sequence[Scale],
    parts: Mapping[str, Sequence[Rated]],
    scores: Mapping[str, Tensor],
    raw: Mapping[str, Tensor],
    reference: Tensor,
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of reward_report.json: the figures on pairs of stage `reward`, and the errors per criterion."""
    from preflab.rewards.rating_report import overall_groups, rating_quality
    from preflab.rewards.report import pair_quality, scores_by_rank

    head = base.trunk.head("reward")
    gain, offset = float(head.gain), float(head.offset)
    groups = {name: overall_groups(rows, scales, criteria, raw[name].tolist()) for name, rows in parts.items()}
    report: dict[str, Any] = {
        "model": ctx.settings.model,
        "base": base.weights_hash,
        "likelihood": "ratings",
        "pooling": base.trunk.pooling,
        "gain": gain,
        "offset": offset,
        "reference": {
            "num": len(reference),
            "mean": float(reference.double().mean()),
            "std": float(reference.double().std(correction=0)),
            "of": ctx.settings.reference or ctx.settings.preferences,
        },
        "data": dict(origin),
        "criteria": {
            name: {"weight": weight, "mean": scale.mean, "std": scale.std}
            for (name, weight), scale in zip(criteria.items(), scales, strict=True)
        },
        "fails": None,
        "nuisance": {},
        "by_rank": scores_by_rank(groups["held_out"], lambda score: gain * score + offset),
    }
    for name, rows in parts.items():
        report[name] = pair_quality(groups[name]) if rows else None
    report["ratings"] = {
        name: rating_quality(rows, scores[name].tolist(), list(criteria), scales, ctx.seed % 2**32)
        for name, rows in parts.items()
        if rows
    }
    return report


def _result(report: Mapping[str, Any], figures: dict[str, float | str], said: str) -> StageResult:
    for part, criteria in report["ratings"].items():
        for name, quality in criteria.items():
            figures[f"{part}/{name}/rmse"] = quality["rmse"]
            figures[f"{part}/{name}/explained"] = quality["explained"]
    held_out = report["ratings"].get("held_out")
    if held_out is None:
        return StageResult(f"nothing held out{said}", figures)
    errors = ", ".join(
        f"{name} {three_digits(quality['rmse'])} (always the mean: {three_digits(quality['rmse_of_mean'])})"
        for name, quality in held_out.items()
    )
    num = max(quality["num"] for quality in held_out.values())
    return StageResult(f"error on {count(num, 'held-out completion')}: {errors}{said}", figures)
