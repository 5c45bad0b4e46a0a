"""Stage `rating`: trains a reward model on ratings and reports its errors on held-out completions (R9)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from preflab.settings.rating import RatingSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.preference_data import PreferenceData
from preflab.stages.common.reward_base import Asked, RewardBase, ask, reference_scores, reference_sequences
from preflab.stages.common.row_lengths import fix_row_lengths
from preflab.words import count, three_digits

if TYPE_CHECKING:
    from torch import Tensor

    from preflab.models.heads import CriteriaHead
    from preflab.rewards.ratings import Rated, Scale
    from preflab.training.batches import TokenSequence
    from preflab.training.too_long import LongRows

VERSION = 3
distributed = True

REPORT, HEADS = "reward_report.json", "criteria.safetensors"


def run(ctx: StageContext) -> StageResult:
    """Train one head per criterion, combine and normalise the heads, and save the model in `reward/` with figures."""
    from preflab.files import read_jsonl
    from preflab.rewards.ratings import choose_criteria
    from preflab.training.standstill import said_of_loss

    asked = ask(ctx)
    criteria = choose_criteria(asked.data.preferences, asked.settings.criteria)
    opened = _open(asked, criteria)
    heads = _train(asked, opened)
    report = _normalise(asked, opened, heads)
    _save(asked, opened.base, heads, report)
    summary = opened.long.said + said_of_loss(read_jsonl(asked.stage.folder / "metrics.jsonl"))
    return _result(report, {**opened.long.figures, **opened.lengths}, summary)


@dataclass(frozen=True)
class _Opened:
    """The base model with a reward role, and the tokenized ratings."""

    base: RewardBase
    criteria: Mapping[str, float]
    """Criterion → its weight."""
    parts: dict[str, list[Rated]]
    """The ratings by part: `train`, `held_out` and `test`."""
    scales: list[Scale]
    samples: list[TokenSequence]
    """The completions used to normalise; [] to normalise with the rated ones."""
    long: LongRows
    lengths: dict[str, float]


def _open(asked: Asked, criteria: Mapping[str, float]) -> _Opened:
    """Open the base model, encode the ratings and part them by prompt.

    Raises:
        PreflabError: the model cannot be opened, completions are too long, or all of them are held out.
    """
    from preflab.rewards.ratings import fit_scales
    from preflab.training.held_out import held_out_prompts, parted, refuse_all_held_out

    settings, data, other = asked.settings, asked.data, asked.test_data
    base = RewardBase.load(asked)
    long = base.long_rows(settings.too_long)
    rated = _rows(base, data, criteria, long)
    train, held_out = parted(rated, held_out_prompts(data.asked, settings.held_out))
    refuse_all_held_out(len(train), len(held_out), data.name, "rated completions")
    parts = {"train": train, "held_out": held_out, "test": _rows(base, other, criteria, long) if other else []}
    long.check(len(rated))
    samples = reference_sequences(asked, base)
    sequences = [row.sequence for rows in parts.values() for row in rows]
    lengths = fix_row_lengths(base.trunk.row_lengths, [*sequences, *samples])
    return _Opened(base, criteria, parts, fit_scales(train, list(criteria)), samples, long, lengths)


def _train(asked: Asked, opened: _Opened) -> CriteriaHead:
    """Train the reward role and one head per criterion; returns the heads."""
    from preflab.rewards.regression import train_on_ratings
    from preflab.training.row_order import steps_per_epoch

    settings: RatingSettings = asked.settings
    train = opened.parts["train"]
    return train_on_ratings(
        opened.base.trunk,
        train,
        opened.scales,
        settings,
        num_steps=settings.num_epochs * steps_per_epoch(len(train), settings.num_completions_per_step),
        folder=asked.stage.folder,
        seed=asked.stage.seed,
        accelerator=asked.accelerator,
        name=asked.stage.name,
    )


def _normalise(asked: Asked, opened: _Opened, heads: CriteriaHead) -> dict[str, Any]:
    """Score the ratings, combine the heads and normalise the combination, and return the report."""
    from preflab.rewards.regression import rating_scores
    from preflab.rewards.train import normalise

    base, budget = opened.base, asked.settings.optimiser.tokens_per_micro_batch
    scores = {name: rating_scores(base.trunk, rows, budget) for name, rows in opened.parts.items()}
    weights = list(opened.criteria.values())
    base.trunk.heads["reward"] = heads.combined(weights)
    raw = {name: _combined(by_criterion, weights) for name, by_criterion in scores.items()}
    reference = reference_scores(asked, base, opened.samples, [raw["train"], raw["held_out"]])
    normalise(base.trunk, reference)
    return _report(asked, opened, scores, raw, reference)


def _save(asked: Asked, base: RewardBase, heads: CriteriaHead, report: Mapping[str, Any]) -> None:
    from preflab.files import write_json
    from preflab.stages.common.learning import CHECKPOINT
    from preflab.training.processes import finish_trackers
    from preflab.training.tensor_files import write_tensors

    folder, accelerator = asked.stage.folder, asked.accelerator
    if accelerator.is_main_process:
        base.save(folder / "reward")
        write_tensors(folder / "reward" / HEADS, heads.state_dict())
        write_json(folder / REPORT, report)
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    accelerator.wait_for_everyone()
    finish_trackers(accelerator)


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
    asked: Asked,
    opened: _Opened,
    scores: Mapping[str, Tensor],
    raw: Mapping[str, Tensor],
    reference: Tensor,
) -> dict[str, Any]:
    """The content of reward_report.json: the figures on pairs of stage `reward`, and the errors per criterion."""
    from preflab.rewards.rating_report import overall_groups, rating_quality
    from preflab.rewards.report import pair_quality, scores_by_rank

    settings: RatingSettings = asked.settings
    base, criteria, scales, parts = opened.base, opened.criteria, opened.scales, opened.parts
    head = base.trunk.head("reward")
    gain, offset = float(head.gain), float(head.offset)
    groups = {name: overall_groups(rows, scales, criteria, raw[name].tolist()) for name, rows in parts.items()}
    report: dict[str, Any] = {
        "model": settings.model,
        "base": base.weights_hash,
        "likelihood": "ratings",
        "pooling": base.trunk.pooling,
        "gain": gain,
        "offset": offset,
        "reference": {
            "num": len(reference),
            "mean": float(reference.double().mean()),
            "std": float(reference.double().std(correction=0)),
            "of": settings.reference or settings.preferences,
        },
        "data": asked.origin,
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
        name: rating_quality(rows, scores[name].tolist(), list(criteria), scales, asked.stage.seed % 2**32)
        for name, rows in parts.items()
        if rows
    }
    return report


def _result(report: Mapping[str, Any], figures: dict[str, float | str], remarks: str) -> StageResult:
    for part, criteria in report["ratings"].items():
        for name, quality in criteria.items():
            figures[f"{part}/{name}/rmse"] = quality["rmse"]
            figures[f"{part}/{name}/explained"] = quality["explained"]
    held_out = report["ratings"].get("held_out")
    if held_out is None:
        return StageResult(f"nothing held out{remarks}", figures)
    errors = ", ".join(
        f"{name} {three_digits(quality['rmse'])} (predicting the mean: {three_digits(quality['rmse_of_mean'])})"
        for name, quality in held_out.items()
    )
    num = max(quality["num"] for quality in held_out.values())
    return StageResult(f"error on {count(num, 'held-out completion')}: {errors}{remarks}", figures)
