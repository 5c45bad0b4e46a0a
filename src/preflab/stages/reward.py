"""Stage `reward`: trains a Bradley–Terry reward model on preferences and reports on held-out pairs (R8)."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from preflab.maths.chance import describe_chance
from preflab.seeds import derive_seed
from preflab.settings.learning import RewardSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.pairs_to_keep import pairs_to_keep
from preflab.stages.common.preference_data import PreferenceData
from preflab.stages.common.reward_base import Asked, RewardBase, ask, reference_scores, reference_sequences
from preflab.stages.common.row_lengths import fix_row_lengths
from preflab.words import best_value, count, interval_text, percent

if TYPE_CHECKING:
    from torch import Tensor

    from preflab.rewards.rankings import Ranking
    from preflab.training.batches import TokenSequence
    from preflab.training.too_long import LongRows

VERSION = 6
distributed = True

REPORT = "reward_report.json"
MAX_TRAIN_RANKINGS = 1000
"""Most training rankings scored for the report: enough to compare train with test, and to normalise the scores."""


def run(ctx: StageContext) -> StageResult:
    """Train on whole rankings, normalise, and save the model in `reward/` and its figures in reward_report.json.

    `pairs/` has the scores of a few held-out pairs during training, see training/record_columns.py.
    """
    from preflab.training.standstill import said_of_loss

    asked = ask(ctx)
    opened = _open(asked)
    rows = _train(asked, opened)
    report = _normalise(asked, opened)
    report["nuisance"] = {name: value for name, value in rows[-1].items() if name.startswith("nuisance/")}
    _save(asked, opened.base, report)
    num_equal, long = opened.num_equal, opened.long
    left_out = f"; {count(num_equal, 'pair')} of equal texts left out" if num_equal else ""
    figures = {**long.figures, **opened.lengths, "num_equal_pairs": float(num_equal)}
    return _result(report, figures, left_out + long.said + said_of_loss(rows))


@dataclass(frozen=True)
class _Opened:
    """The base model with a reward role, and the tokenized rankings without pairs of equal completions."""

    base: RewardBase
    train: list[Ranking]
    held_out: list[Ranking]
    test: list[Ranking]
    samples: list[TokenSequence]
    """The completions used to normalise; [] to normalise with those of the rankings."""
    long: LongRows
    num_equal: int
    """Number of pairs of equal completions."""
    lengths: dict[str, float]


def _open(asked: Asked) -> _Opened:
    """Open the base model, encode the rankings and part them by prompt.

    Raises:
        PreflabError: the model cannot be opened, rankings are too long, or all of them are held out.
    """
    from preflab.training.held_out import held_out_prompts, parted, refuse_all_held_out

    settings, data = asked.settings, asked.data
    base = RewardBase.load(asked)
    long = base.long_rows(settings.too_long)
    rankings = _rankings(base, data, settings, long)
    tested = _rankings(base, asked.test_data, settings, long) if asked.test_data else []
    long.check(len(rankings))
    train, held_out = parted(list(map(_differing, rankings)), held_out_prompts(data.asked, settings.held_out))
    refuse_all_held_out(_num_weighty(train), _num_weighty(held_out), data.name, "rankings")
    samples = reference_sequences(asked, base)
    rows_of = [sequence for ranking in (*train, *held_out, *tested) for sequence in ranking.sequences]
    lengths = fix_row_lengths(base.trunk.row_lengths, [*rows_of, *samples])
    num_equal = sum(map(_num_equal, [*rankings, *tested]))
    return _Opened(base, train, held_out, list(map(_differing, tested)), samples, long, num_equal, lengths)


def _train(asked: Asked, opened: _Opened) -> list[dict[str, Any]]:
    """Train the reward role; returns the rows of metrics.jsonl."""
    from preflab.rewards.train import train_reward_model
    from preflab.stages.common.prompt_sharing import find_sharing
    from preflab.training.row_order import steps_per_epoch

    settings: RewardSettings = asked.settings
    per_epoch = steps_per_epoch(max(1, _num_weighty(opened.train)), settings.num_rankings_per_step)
    return train_reward_model(
        opened.base.trunk,
        opened.train,
        settings,
        num_steps=settings.num_epochs * per_epoch,
        folder=asked.stage.folder,
        seed=asked.stage.seed,
        accelerator=asked.accelerator,
        name=asked.stage.name,
        kept_pairs=pairs_to_keep(asked.data, opened.base.uncut, opened.held_out, opened.train, settings.num_kept_pairs),
        sharing=find_sharing(
            opened.base.trunk,
            "reward",
            share_prompts=settings.share_prompts,
            tokens_per_micro_batch=settings.optimiser.tokens_per_micro_batch,
            limits=opened.base.encoder.limits,
        ),
    )


def _normalise(asked: Asked, opened: _Opened) -> dict[str, Any]:
    """Score the rankings, normalise the reward head, and return the report without `nuisance`."""
    from preflab.rewards.train import normalise, score_rankings

    base, train = opened.base, opened.train
    drawn = random.Random(derive_seed(asked.stage.seed, "report")).sample(train, min(len(train), MAX_TRAIN_RANKINGS))
    parts = {"train": drawn, "held_out": opened.held_out, "test": opened.test}
    budget = asked.settings.optimiser.tokens_per_micro_batch
    raw = {name: score_rankings(base.trunk, rankings, budget) for name, rankings in parts.items()}
    reference = reference_scores(asked, base, opened.samples, [*raw["train"], *raw["held_out"]])
    normalise(base.trunk, reference)
    return _report(asked, base, parts, raw, reference)


def _save(asked: Asked, base: RewardBase, report: Mapping[str, Any]) -> None:
    from preflab.files import write_json
    from preflab.stages.common.learning import CHECKPOINT
    from preflab.training.processes import finish_trackers

    folder, accelerator = asked.stage.folder, asked.accelerator
    if accelerator.is_main_process:
        base.save(folder / "reward")
        write_json(folder / REPORT, report)
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    accelerator.wait_for_everyone()
    finish_trackers(accelerator)


def _rankings(base: RewardBase, data: PreferenceData, settings: RewardSettings, long: LongRows) -> list[Ranking]:
    """The preferences as tokenized rankings; rankings that are too long are cut or left out, as the settings say."""
    from preflab.rewards.rankings import make_rankings

    rankings = make_rankings(
        data.preferences,
        data.prompts,
        data.completions,
        base.uncut,
        soft_labels=settings.soft_labels,
        fail_as_rejected=settings.fail_as_rejected,
        ties=settings.likelihood == "davidson",
    )
    cut = [(r, long.fitted(r.sequences, data.where(r.prompt_id))) for r in rankings]
    return [replace(ranking, sequences=sequences) for ranking, sequences in cut if sequences is not None]


def _differing(ranking: Ranking) -> Ranking:
    """The ranking without pairs whose two completions have the same tokens: they carry no information."""
    from preflab.rewards.rankings import same_text

    return replace(ranking, pairs=tuple(pair for pair in ranking.pairs if not same_text(ranking, pair)))


def _num_equal(ranking: Ranking) -> int:
    return len(ranking.pairs) - len(_differing(ranking).pairs)


def _num_weighty(rankings: Sequence[Ranking]) -> int:
    return sum(ranking.weight > 0 for ranking in rankings)


def _report(
    asked: Asked,
    base: RewardBase,
    parts: Mapping[str, Sequence[Ranking]],
    raw: Mapping[str, Sequence[Tensor]],
    reference: Tensor,
) -> dict[str, Any]:
    """The content of reward_report.json; docs/algorithms/reward-model.md says what each figure means."""
    from preflab.rewards.report import ScoredGroup, fail_scores, pair_quality, scores_by_rank

    settings: RewardSettings = asked.settings
    head = base.trunk.head("reward")
    gain, offset = float(head.gain), float(head.offset)

    def normalised(score: float) -> float:
        return gain * score + offset

    groups = {
        name: [
            ScoredGroup(r.prompt_id, tuple(s.tolist()), r.lengths, r.ranks, r.decided)
            for r, s in zip(rankings, raw[name], strict=True)
        ]
        for name, rankings in parts.items()
    }
    every = [*groups["train"], *groups["held_out"]]
    return {
        "model": settings.model,
        "base": base.weights_hash,
        "likelihood": settings.likelihood,
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
        "train": pair_quality(groups["train"]),
        "held_out": pair_quality(groups["held_out"]),
        "test": pair_quality(groups["test"]) if groups["test"] else None,
        "fails": fail_scores(every, normalised),
        "by_rank": scores_by_rank(groups["held_out"], normalised),
    }


def _result(report: Mapping[str, Any], figures: dict[str, float | str], notes: str) -> StageResult:
    for part in ("train", "held_out", "test"):
        quality = report[part] or {}
        for measure in ("accuracy", "longer_wins"):
            if quality.get(measure):
                figures[f"{part}/{measure}"] = quality[measure]["value"]
    held_out = report["held_out"]
    if "accuracy" not in held_out:
        why = "no held-out pair was decided" if held_out.get("num_prompts") else "nothing held out"
        return StageResult(f"{why}{notes}", figures)
    accuracy = held_out["accuracy"]
    right, pairs = interval_text(accuracy, percent), count(held_out["num_pairs"], "held-out pair")
    doubt = describe_chance(accuracy, pairs)
    right = f"right on {right}, {doubt}" if doubt else f"right on {right} of {pairs}"
    longer = best_value(held_out["longer_wins"], percent)
    return StageResult(f"{right}; the longer one wins {longer}{notes}", figures)
