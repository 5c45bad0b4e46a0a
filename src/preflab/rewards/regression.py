"""Trains a reward model on ratings by mean squared error, with one head per criterion on one trunk (R9).

    loss = Σ_completions Σ_criteria (score − target)² / (ratings of the whole step),   target = (rating − mean) / std

Mean and spread are those of the training ratings, so a criterion rated from 3 to 5 counts as much as one rated from 1
to 5. `feedback.ratings` has removed each labeler's offset and spread before. When training ends the heads are combined
into one, reward = Σ weight · score / Σ |weight|, and the model is used like any other reward model. Source: one output
per attribute with mean squared error, as the reward model of HelpSteer2 (Wang et al. 2024, arXiv 2406.08673).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from preflab.models.heads import CriteriaHead
from preflab.models.trunk import Trunk
from preflab.progress import progress
from preflab.rewards.ratings import Rated, Scale
from preflab.settings.rating import RatingSettings
from preflab.training.batches import Collate, token_budget_batches
from preflab.training.metrics import MetricsLog
from preflab.training.optimiser import clip_gradients, learning_rate_factor, make_optimiser, set_learning_rate
from preflab.training.processes import sum_over_processes
from preflab.training.row_order import own_micro_batches, rows_of_step
from preflab.training.state import RunState
from preflab.training.transfers import to_device


def rating_loss(scores: Tensor, targets: Tensor, denominator: float) -> Tensor:
    """Σ (scores − targets)² / denominator over the entries that have a target; 0-d.

    scores (N, C); targets (N, C) with NaN where nobody rated.
    """
    rated = ~targets.isnan()
    errors = torch.where(rated, scores - torch.where(rated, targets, 0.0), 0.0)
    return errors.square().sum() / denominator


def standardise_ratings(rows: Sequence[Rated], scales: Sequence[Scale]) -> Tensor:
    """(N, C) standardised ratings, NaN where nobody rated."""
    return torch.tensor(
        [
            [
                float("nan") if r is None else (r - scale.mean) / scale.std
                for r, scale in zip(row.ratings, scales, strict=True)
            ]
            for row in rows
        ]
    )


def train_on_ratings(
    trunk: Trunk,
    rows: Sequence[Rated],
    scales: Sequence[Scale],
    settings: RatingSettings,
    *,
    num_steps: int,
    folder: Path,
    seed: int,
    accelerator: Any,
    name: str = "rating",
) -> CriteriaHead:
    """Train the reward role of a trunk with a head per criterion; resumes from the folder's checkpoint if there is one.

    Args:
        trunk: a trunk with a role "reward"; its head is replaced by one with C outputs.
        rows: the training share.
        scales: one per criterion.
        settings: completions per step, optimiser, checkpoints.
        num_steps: optimiser steps in all, including steps before a restart.
        folder: for metrics.jsonl and checkpoint/.
        seed: for the heads and for the order of the rows.
        accelerator: see `training.processes`.
        name: shown beside the progress bar.

    Returns:
        The heads; `CriteriaHead.combined` combines them into one.
    """
    if settings.optimiser.gradient_checkpointing:
        trunk.enable_gradient_checkpointing()
    if settings.optimiser.compile:
        trunk.blocks.compile(trunk.models.values())
    heads = CriteriaHead.beside(trunk.head("reward"), len(scales), seed)
    trunk.heads["reward"] = heads
    trainable = [parameter for _, parameter in trunk.parameters_of("reward")]
    optimiser = make_optimiser([(trainable, settings.optimiser.learning_rate)], settings.optimiser, trunk)
    model, optimiser = accelerator.prepare(trunk.to(accelerator.device), optimiser)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state = RunState(trunk, optimiser)
    state.load(folder / "checkpoint")
    log = MetricsLog(folder / "metrics.jsonl", step=state.step)
    targets = standardise_ratings(rows, scales)

    with progress(name, total=num_steps, done=state.step) as bar:
        while state.step < num_steps:
            started = time.perf_counter()

            # 1 collect: the next completions, in an order that depends on seed and step
            chosen = rows_of_step(state.step, len(rows), settings.num_completions_per_step, seed)

            # 2 update: the gradient over all micro-batches, clipped, one step of AdamW
            rate = set_learning_rate(optimiser, learning_rate_factor(state.step, num_steps, settings.optimiser))
            optimiser.zero_grad(set_to_none=True)
            loss = accumulate(model, [rows[i] for i in chosen], targets[chosen], settings, trunk.collate, accelerator)
            norm = clip_gradients(parameters, settings.optimiser.max_grad_norm)
            optimiser.step()

            # 3 log
            figures = {"loss/total": loss, "loss/rating": loss, "grad/norm": norm, "learning_rate": rate}
            figures["time/step"] = time.perf_counter() - started
            if accelerator.is_main_process:
                log.write(state.step, figures)
            accelerator.log(figures, step=state.step)
            state.step += 1
            if accelerator.is_main_process and state.step % settings.run.save_every == 0:
                state.save(folder / "checkpoint")
            bar.advance(1, loss=loss)
    return heads


def accumulate(
    model: Any, rows: Sequence[Rated], targets: Tensor, settings: RatingSettings, collate: Collate, accelerator: Any
) -> float:
    """Leave the gradient of one optimiser step in the parameters; returns its loss over all processes."""
    denominator = float((~targets.isnan()).sum())
    batches = token_budget_batches([len(r.sequence) for r in rows], settings.optimiser.tokens_per_micro_batch)
    total = torch.zeros((), device=accelerator.device)
    for indices, factor in own_micro_batches(batches, accelerator.process_index, accelerator.num_processes):
        batch = collate([rows[i].sequence for i in indices])
        scores = model(batch, ("reward",))["reward"].rewards
        loss = rating_loss(scores, to_device(targets[indices], accelerator.device), denominator)
        accelerator.backward(factor * loss)
        total += loss.detach() * bool(factor)
    return float(sum_over_processes(accelerator, total))


@torch.no_grad()
def rating_scores(trunk: Trunk, rows: Sequence[Rated], tokens_per_batch: int) -> Tensor:
    """(N, C) scores of the rows by each criterion's head, on the CPU."""
    scores = torch.zeros(len(rows), cast(CriteriaHead, trunk.heads["reward"]).num_criteria)
    for indices in token_budget_batches([len(r.sequence) for r in rows], tokens_per_batch):
        batch = trunk.collate([rows[i].sequence for i in indices])
        rewards = trunk(batch, ("reward",))["reward"].rewards
        assert rewards is not None
        scores[indices] = rewards.float().cpu()
    return scores
