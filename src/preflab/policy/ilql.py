"""Implicit language Q-learning: Q and V from stored completions and their rewards (Snell et al. 2022).

    targets_t = rewards_t + gamma · V_{t+1}                    the reward comes at the last token
    loss      = Σ (Q_t − targets_t)² + |tau − 1[Q̂_t < V_t]| · (Q̂_t − V_t)²     / completion tokens of the whole step

Q̂ is a target copy of the Q head. Nothing is sampled while Q and V are learned, and no maximum over tokens is taken: V
is an expectile over the tokens that the data hold. The policy is π ∝ π_ref · exp(beta · (Q − V)), formed at decoding
time (`sampling.reweighted`); it is not the optimum of reward less KL unless completions have one token. The steps are
those of docs/algorithms/ilql.md:

    1 collect     the next completions with their rewards
    2 losses      one pass of the value role gives V, Q and Q̂; targets from V; their gradient
    3 update      one step of AdamW; the target copy follows
    4 log         metrics, a checkpoint
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.maths.advantages import scores_at_last_token
from preflab.maths.ilql import expectile_loss, q_loss, q_targets
from preflab.maths.masks import masked_mean
from preflab.models.action_values import q_head
from preflab.models.trunk import Trunk
from preflab.policy.sft import num_policy_tokens
from preflab.progress import progress
from preflab.settings.ilql import IlqlSettings
from preflab.training.batches import TokenBatch, TokenSequence, token_budget_batches
from preflab.training.metrics import MetricsLog
from preflab.training.optimiser import clip_gradients, learning_rate_factor, make_optimiser, set_learning_rate
from preflab.training.processes import make_accelerator, sum_over_processes
from preflab.training.row_order import own_micro_batches, rows_of_step
from preflab.training.state import RunState
from preflab.training.transfers import to_device

STATISTICS = ("loss/total", "loss/q", "loss/expectile", "advantage/mean")
"""The metrics that are sums over the tokens of a step, divided by their number."""


@dataclass
class IlqlRun:
    """The inputs of a run of implicit language Q-learning."""

    trunk: Trunk
    """Has the role value and a Q head (`models.action_values.add_q_head`)."""
    settings: IlqlSettings
    sequences: Sequence[TokenSequence]
    """The completions to learn from."""
    scores: Tensor
    """(N,) their rewards."""
    num_steps: int
    """Total number of optimiser steps."""
    folder: Path
    """Run folder for checkpoints and metrics; a restart resumes from it."""
    seed: int
    name: str = "ilql"
    """The stage's name, for the progress bar."""
    accelerator: Any = field(default_factory=make_accelerator)


def train_ilql(run: IlqlRun) -> list[dict[str, Any]]:
    """Train the value role and the Q head of `run.trunk`, resuming from the folder's checkpoint if there is one.

    Returns:
        The metrics of every step.

    Raises:
        PreflabError: a gradient or a metric is not finite, a checkpoint is corrupted, or the disk is full.
    """
    settings, trunk, accelerator = run.settings, run.trunk, run.accelerator
    if settings.optimiser.gradient_checkpointing:
        trunk.enable_gradient_checkpointing()
    if settings.optimiser.compile:
        trunk.blocks.compile(trunk.models.values())
    learning = [parameter for role in ("value", "q") for _, parameter in trunk.parameters_of(role)]
    optimiser = make_optimiser([(learning, settings.optimiser.learning_rate)], settings.optimiser, trunk)
    model, optimiser = accelerator.prepare(trunk.to(accelerator.device), optimiser)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state = RunState(trunk, optimiser)
    state.load(run.folder / "checkpoint", num_steps=run.num_steps)
    log = MetricsLog(run.folder / "metrics.jsonl", step=state.step)

    with progress(run.name, run.num_steps, state.step) as bar:
        while state.step < run.num_steps:
            started = time.perf_counter()

            # 1 collect: the next completions, in an order that depends only on seed and step
            rows = rows_of_step(state.step, len(run.sequences), settings.num_completions_per_step, run.seed)

            # 2 losses: the gradient over all micro-batches
            rate = set_learning_rate(optimiser, learning_rate_factor(state.step, run.num_steps, settings.optimiser))
            optimiser.zero_grad(set_to_none=True)
            values = accumulate(run, model, rows)

            # 3 update: clip the gradient, take one step, move the target copy
            values["grad/norm"] = clip_gradients(parameters, settings.optimiser.max_grad_norm)
            optimiser.step()
            q_head(trunk).follow(settings.target_rate)

            # 4 log
            seconds = time.perf_counter() - started
            values |= {"learning_rate": rate, "time/step": seconds, "tokens/s": values["num/tokens"] / seconds}
            if accelerator.is_main_process:
                log.write(state.step, values)
            accelerator.log(values, step=state.step)
            state.step += 1
            last = state.step == run.num_steps
            if accelerator.is_main_process and (last or state.step % settings.run.save_every == 0):
                state.save(run.folder / "checkpoint")
            bar.advance(1, loss=values["loss/total"])
    accelerator.wait_for_everyone()  # the main process writes the rows, all processes read them
    return log.rows()


def accumulate(run: IlqlRun, model: Any, rows: Sequence[int]) -> dict[str, float]:
    """Step 2: add the gradient of one optimiser step to the parameters; returns its metrics over all processes.

    Every loss is divided by the tokens of the whole step, so the split into micro-batches does not change the result.
    """
    accelerator, sequences, scores = run.accelerator, [run.sequences[row] for row in rows], run.scores[list(rows)]
    num_tokens = num_policy_tokens(sequences)
    batches = token_budget_batches([len(s) for s in sequences], run.settings.optimiser.tokens_per_micro_batch)
    sums = torch.zeros(len(STATISTICS), device=accelerator.device)
    for part, factor in own_micro_batches(batches, accelerator.process_index, accelerator.num_processes):
        batch = run.trunk.collate([sequences[i] for i in part])
        loss, statistics = losses_of(run.settings, model, batch, scores[part], num_tokens)
        accelerator.backward(factor * loss)
        sums += bool(factor) * statistics
    means = dict(zip(STATISTICS, sum_over_processes(accelerator, sums).tolist(), strict=True))
    rewards = {"reward/mean": float(scores.mean()), "reward/std": float(scores.std(correction=0))}
    return {**means, **rewards, "num/tokens": num_tokens}


def losses_of(
    settings: IlqlSettings, model: Any, batch: TokenBatch, scores: Tensor, num_tokens: int
) -> tuple[Tensor, Tensor]:
    """The loss of Q plus that of V for some completions of a step, and their share of `STATISTICS`."""
    mask = batch.completion_mask
    outputs = model(batch, ("value",))["value"]
    values, q = outputs.values, outputs.action_values
    rewards = scores_at_last_token(to_device(scores, values.device).to(values.dtype), mask)
    of_q = q_loss(q, q_targets(rewards, values, mask, gamma=settings.gamma), mask, num_tokens)
    of_v = expectile_loss(values, outputs.target_action_values, mask, tau=settings.tau, denominator=num_tokens)
    loss = of_q + of_v
    return loss, torch.stack([loss, of_q, of_v, masked_mean(q - values, mask, num_tokens)]).detach()
