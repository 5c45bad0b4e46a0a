"""Trains a reward model on rankings: Bradley–Terry on all pairs of each, every completion scored once (R7, R8).

    loss = − Σ_rankings Σ_pairs weight · [label · log σ(d) + (1 − label) · log σ(−d)] / (weights of the whole step)
           + score_l2 · Σ_completions score² / (completions of the whole step),          d = score_first − score_second

`likelihood` replaces the first line by Davidson's model of ties or by Plackett–Luce, see `rewards.objectives`.

A ranking stays whole in one optimiser step, and the weights of its pairs sum to 1, because they are not independent.
Micro-batches contain whole rankings. A ranking beyond the token budget is scored in slices twice: without gradients, to
compute the derivative of the loss by each score, then with gradients, to propagate it. Memory stays within the budget
and the gradient is the same. The numbered steps are explained in docs/algorithms/reward-model.md.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.maths.bradley_terry import bradley_terry_loss
from preflab.maths.masks import masked_sum
from preflab.models.trunk import Trunk
from preflab.progress import progress
from preflab.rewards.objectives import OBJECTIVES, Nuisance, Objective, bradley_terry_nll, pair_columns
from preflab.rewards.rankings import Ranking
from preflab.rewards.score import reward_scores
from preflab.settings.learning import RewardSettings
from preflab.training.batches import Collate, TokenSequence, whole_group_batches
from preflab.training.kept_pairs import KeptPair, PairRecord, sides_of, steps_between_looks
from preflab.training.metrics import MetricsLog
from preflab.training.optimiser import clip_gradients, learning_rate_factor, make_optimiser, set_learning_rate
from preflab.training.processes import sum_over_processes
from preflab.training.prompt_sharing import PromptSharing, micro_batches
from preflab.training.row_order import own_micro_batches, rows_of_step
from preflab.training.state import RunState
from preflab.training.transfers import to_device
from preflab.words import count


@dataclass(frozen=True)
class Denominators:
    """The denominators of a step's losses, over all its micro-batches and processes."""

    weight: float
    """Sum of the weights of all pairs."""
    completions: int

    @classmethod
    def of(cls, rankings: Sequence[Ranking]) -> Denominators:
        """The denominators of the optimiser step on these rankings."""
        return cls(sum(r.weight for r in rankings), sum(len(r.sequences) for r in rankings))


def ranking_loss(
    scores: Tensor,
    rankings: Sequence[Ranking],
    step: Denominators,
    score_l2: float = 0.0,
    *,
    objective: Objective = bradley_terry_nll,
    nuisance: Nuisance | None = None,
) -> Tensor:
    """The loss of some rankings of a step; 0-d. The losses of parts sum to the loss of the step.

    scores (N,): raw scores of all completions of the rankings, in order.
    """
    explained = scores if nuisance is None else nuisance.explained(scores, rankings)
    loss = objective(explained, rankings, nuisance) / step.weight
    return loss + score_l2 * scores.square().sum() / step.completions


def whole_ranking_batches(
    rankings: Sequence[Ranking], tokens_per_batch: int, sharing: PromptSharing | None = None
) -> list[list[int]]:
    """Lists of indices of rankings, each list within the token budget and each ranking whole."""
    if sharing is not None:
        return whole_group_batches([sharing.size(ranking.sequences) for ranking in rankings], tokens_per_batch)
    sizes = [(len(ranking.sequences), max(len(s) for s in ranking.sequences)) for ranking in rankings]
    return whole_group_batches(sizes, tokens_per_batch)


def raw_scores(model: Any, sequences: Sequence[TokenSequence], collate: Collate) -> Tensor:
    """(N,) scores of the head; during training gain is 1 and offset 0."""
    return model(collate(sequences), ("reward",))["reward"].rewards


def accumulate(
    model: Any,
    rankings: Sequence[Ranking],
    settings: RewardSettings,
    *,
    collate: Collate,
    accelerator: Any,
    nuisance: Nuisance | None = None,
    sharing: PromptSharing | None = None,
) -> dict[str, float]:
    """Accumulate the gradient of one optimiser step in the parameters; returns its metrics over all processes.

    With several processes a ranking beyond the budget is scored in one piece: `backward()` is a collective call, so
    every process must make the same number of calls.
    """
    denominators = Denominators.of(rankings)

    def loss_of(scores: Tensor, part: list[Ranking]) -> Tensor:
        objective = OBJECTIVES[settings.likelihood]
        return ranking_loss(scores, part, denominators, settings.score_l2, objective=objective, nuisance=nuisance)

    budget = settings.optimiser.tokens_per_micro_batch
    batches = whole_ranking_batches(rankings, budget, sharing)
    if sharing is not None:
        collate = functools.partial(sharing.batch, collate=collate, device=accelerator.device)
    sums = torch.zeros(9, device=accelerator.device, dtype=torch.float64)
    for indices, factor in own_micro_batches(batches, accelerator.process_index, accelerator.num_processes):
        part = [rankings[i] for i in indices]
        sequences = [s for ranking in part for s in ranking.sequences]
        slices = micro_batches(sequences, range(len(sequences)), budget, sharing)
        if len(part) > 1 or len(slices) == 1 or accelerator.num_processes > 1:
            slices = [list(range(len(sequences)))]
        scores, loss = _backward(model, part, sequences, slices, loss_of, factor, collate, accelerator)
        if factor:
            sums += torch.cat([loss.double()[None], pair_statistics(scores, part)])
    return step_figures(sum_over_processes(accelerator, sums))


def _backward(
    model: Any,
    rankings: list[Ranking],
    sequences: list[TokenSequence],
    slices: list[list[int]],
    loss_of: Callable[[Tensor, list[Ranking]], Tensor],
    factor: float,
    collate: Collate,
    accelerator: Any,
) -> tuple[Tensor, Tensor]:
    """Backpropagate one micro-batch, or one large ranking in slices; returns its scores and loss, detached."""
    if len(slices) == 1:
        scores = raw_scores(model, sequences, collate)
        loss = loss_of(scores, rankings)
        accelerator.backward(factor * loss)
        return scores.detach(), loss.detach()
    with torch.no_grad():
        parts = [raw_scores(model, [sequences[i] for i in s], collate) for s in slices]
    scores = torch.empty(len(sequences), device=accelerator.device)
    for places, values in zip(slices, parts, strict=True):
        scores[to_device(torch.tensor(places), scores.device)] = values
    scores.requires_grad_()
    loss = loss_of(scores, rankings)
    (factor * loss).backward()  # this also accumulates the gradients of the nuisance parameters
    score_gradients = scores.grad
    assert score_gradients is not None
    for places in slices:
        slice_scores = raw_scores(model, [sequences[i] for i in places], collate)
        accelerator.backward((score_gradients[to_device(torch.tensor(places), scores.device)] * slice_scores).sum())
    return scores.detach(), loss.detach()


def pair_statistics(scores: Tensor, rankings: Sequence[Ranking]) -> Tensor:
    """(8,) sums that can be added over micro-batches and processes.

    Σ weight · nll, Σ weight, pairs in the right order (ties half), decided pairs, Σ margin, Σ score, Σ score²,
    completions.
    """
    first, second, labels, weights = pair_columns(rankings, scores.device)
    nll = bradley_terry_loss(scores[first], scores[second], labels=labels, weights=weights, denominator=1.0)
    decided = labels != 0.5
    margins = torch.where(labels > 0.5, 1.0, -1.0) * (scores[first] - scores[second])
    right, margin = masked_sum((margins.sign() + 1) / 2, decided), masked_sum(margins, decided)
    sums = [nll, weights.sum(), right, decided.sum(), margin, scores.sum(), scores.square().sum()]
    return torch.stack([value.double() for value in [*sums, scores.new_full((), len(scores))]])


def step_figures(sums: Tensor) -> dict[str, float]:
    """Metrics of a step from its loss and the sums of `pair_statistics`, (9,)."""
    loss, nll, weight, right, num_pairs, margin, total, squares, num = sums.tolist()
    mean = total / num
    return {
        "loss/total": loss,
        "loss/bradley_terry": nll / weight,
        "accuracy/train": right / max(1.0, num_pairs),
        "score/margin": margin / max(1.0, num_pairs),
        "score/std": max(0.0, squares / num - mean * mean) ** 0.5,
    }


def train_reward_model(
    trunk: Trunk,
    rankings: Sequence[Ranking],
    settings: RewardSettings,
    *,
    num_steps: int,
    folder: Path,
    seed: int,
    accelerator: Any,
    name: str = "reward",
    kept_pairs: Sequence[KeptPair] = (),
    sharing: PromptSharing | None = None,
) -> list[dict[str, Any]]:
    """Train the reward role of a trunk on rankings; resumes from the folder's checkpoint if there is one.

    Args:
        trunk: a trunk with a role "reward".
        rankings: the training share; completions that are in no pair are not scored.
        settings: rankings per step, score_l2, optimiser, checkpoints.
        num_steps: optimiser steps in all, including steps before a restart.
        folder: for metrics.jsonl and checkpoint/.
        seed: for the order of the rankings.
        accelerator: see `training.processes`.
        name: shown beside the progress bar.
        kept_pairs: pairs whose scores are written into the folder during training.
        sharing: how the completions of a ranking share rows; None: one row per completion.

    Returns:
        The metrics of every step.

    Raises:
        PreflabError: no ranking has a decided pair.
    """
    learned = [ranking.drop_unpaired() for ranking in rankings if ranking.weight > 0]
    if not learned:
        raise PreflabError(
            f"{count(len(rankings), 'ranking')} without a single decided pair",
            "at least one completion that is preferred to another",
            "collect more judgments, or find out why every pair is tied or failed",
        )
    if settings.optimiser.gradient_checkpointing:
        trunk.enable_gradient_checkpointing()
    if settings.optimiser.compile:
        trunk.blocks.compile(trunk.models.values())
    nuisance = add_nuisance(trunk, learned, settings)
    nuisances = list(nuisance.parameters()) if nuisance else []
    trainable = [p for _, p in trunk.parameters_of("reward") if all(p is not other for other in nuisances)]
    groups = [(trainable, settings.optimiser.learning_rate), (nuisances, settings.nuisance_learning_rate)]
    optimiser = make_optimiser(groups, settings.optimiser, trunk)
    model, optimiser = accelerator.prepare(trunk.to(accelerator.device), optimiser)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state = RunState(trunk, optimiser)
    state.load(folder / "checkpoint")
    log = MetricsLog(folder / "metrics.jsonl", step=state.step)
    pairs = PairRecord(
        folder,
        kept_pairs if accelerator.is_main_process else (),
        {"kind": settings.kind},
        num_done=state.step,
        every=steps_between_looks(num_steps),
        most_mib=settings.max_record_mib,
    )
    if state.step == 0:
        look_at_pairs(trunk, pairs, 0, settings)

    with progress(name, total=num_steps, done=state.step) as bar:
        while state.step < num_steps:
            started = time.perf_counter()

            # 1 collect: the next whole rankings, in an order that depends on seed and step
            rows = rows_of_step(state.step, len(learned), settings.num_rankings_per_step, seed)
            batch = [learned[i] for i in rows]

            # 2 update: score every completion once, accumulate and clip the gradient, take one step of AdamW
            rate = set_learning_rate(optimiser, learning_rate_factor(state.step, num_steps, settings.optimiser))
            optimiser.zero_grad(set_to_none=True)
            figures = accumulate(
                model,
                batch,
                settings,
                collate=trunk.collate,
                accelerator=accelerator,
                nuisance=nuisance,
                sharing=sharing,
            )
            norm = clip_gradients(parameters, settings.optimiser.max_grad_norm)
            optimiser.step()

            # 3 log
            if nuisance is not None:
                figures |= {f"nuisance/{name}": value for name, value in nuisance.figures().items()}
            figures |= {"grad/norm": norm, "learning_rate": rate, "time/step": time.perf_counter() - started}
            if accelerator.is_main_process:
                log.write(state.step, figures)
            accelerator.log(figures, step=state.step)
            state.step += 1
            look_at_pairs(trunk, pairs, state.step, settings, last=state.step == num_steps)
            if accelerator.is_main_process and state.step % settings.run.save_every == 0:
                state.save(folder / "checkpoint")
            bar.advance(1, loss=figures["loss/bradley_terry"], accuracy=figures["accuracy/train"])
    trunk.head("reward").nuisance = None  # the reward is the score alone
    accelerator.wait_for_everyone()  # the main process writes the rows, all processes read them
    return log.rows()


def look_at_pairs(trunk: Trunk, record: PairRecord, step: int, settings: RewardSettings, *, last: bool = False) -> None:
    """Write the scores of the kept pairs after `step` optimiser steps, if it is due."""
    if record.due(step, last=last):
        sequences = [side.sequence for side in sides_of(record.pairs)]
        record.write(step, reward_scores(trunk, sequences, settings.optimiser.tokens_per_micro_batch))


def add_nuisance(trunk: Trunk, rankings: Sequence[Ranking], settings: RewardSettings) -> Nuisance | None:
    """Add the nuisance parameters to the reward head, so that checkpoints include them; None if there are none."""
    learns_ties = settings.likelihood == "davidson"
    if not (learns_ties or settings.length_control):
        return None
    scale = spread_within([ranking.lengths for ranking in rankings]) if settings.length_control else None
    nuisance = Nuisance(learns_ties=learns_ties, length_scale=scale)
    trunk.head("reward").nuisance = nuisance
    return nuisance


def spread_within(groups: Sequence[Sequence[float]]) -> float:
    """Standard deviation of all values about the mean of their group; 1 if all groups are constant."""
    squares = [(value - sum(group) / len(group)) ** 2 for group in groups for value in group]
    return (sum(squares) / len(squares)) ** 0.5 or 1.0


@torch.no_grad()
def normalise(trunk: Trunk, raw: Tensor) -> None:
    """Set gain and offset so that these raw scores have mean 0 and variance 1 (population) after normalisation.

    gain = 1 / std(raw), offset = − mean(raw) / std(raw)

    Args:
        trunk: a trunk with a reward role.
        raw: (N,) raw scores of completions of the reference model, where the policy starts. The mean reward is then 0
            at the start, and kl_coef has the same unit for every reward model. Source: Ziegler et al. 2019, section 2.

    Raises:
        PreflabError: there are fewer than two scores, or all are equal.
    """
    std = float(raw.double().std(correction=0)) if len(raw) > 1 else 0.0
    if std < 1e-6:
        raise PreflabError(
            f"{len(raw)} reference scores with a spread of {std:.1e}",
            "at least two completions that score differently",
            "train longer or with a higher learning rate: this reward model gives every completion the same score",
        )
    head = trunk.head("reward")
    head.gain.fill_(1.0 / std)
    head.offset.fill_(-float(raw.double().mean()) / std)


def score_rankings(trunk: Trunk, rankings: Sequence[Ranking], tokens_per_batch: int) -> list[Tensor]:
    """Current scores (K,) of every ranking's completions (raw before `normalise`)."""
    sequences = [s for ranking in rankings for s in ranking.sequences]
    scores = reward_scores(trunk, sequences, tokens_per_batch)
    return list(scores.split([len(ranking.sequences) for ranking in rankings])) if rankings else []
