"""Online DPO: the current policy writes pairs, a reward labels them, and DPO learns from them (Guo et al. 2024).

The loop of one step, numbered as on its page in docs/algorithms/online-dpo.md:

    1 collect      K completions of each prompt by the current policy; log-probabilities of policy and reference
    2 score        a reward for every completion
    3 label        P(a ≻ b) = σ(r_a − r_b) for every pair of a prompt, or a winner drawn with that probability
    4 update       DPO's loss on the pairs
    5 log          metrics, alarms, a few rollouts for reading, a checkpoint
"""

from __future__ import annotations

import random
from contextlib import nullcontext
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from preflab.maths.advantages import group_relative
from preflab.maths.bradley_terry import preference_probability
from preflab.maths.dpo import Pairs, Side, dpo_loss
from preflab.maths.masks import masked_mean, zero_masked
from preflab.models.chunked import TokenStatistics
from preflab.models.role_output import spread
from preflab.policy.completion_groups import ask_policy_and_reference, group_source, score_rollouts
from preflab.policy.on_policy_run import OnPolicyRun, RunResult
from preflab.policy.on_policy_setup import first_micro_batches, minibatches
from preflab.policy.step_log import StepClock, StepLog
from preflab.policy.step_statistics import detached, group_statistics, update_statistics
from preflab.progress import progress
from preflab.seeds import derive_seed
from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.training.freed_memory import give_back
from preflab.training.optimiser import clip_gradients, learning_rate_factor, make_optimiser, set_learning_rate
from preflab.training.processes import own_share, sum_over_processes
from preflab.training.prompt_sharing import micro_batches
from preflab.training.rollouts import Rollouts
from preflab.training.state import RunState
from preflab.training.transfers import to_device

OnlineDpoRun = OnPolicyRun[OnlineDpoSettings]
"""A run whose trunk has the roles policy and reference."""


def train_online_dpo(run: OnlineDpoRun) -> RunResult:
    """Train the policy role of `run.trunk`, resuming from the folder's checkpoint if there is one.

    Raises:
        PreflabError: a reward, a gradient or a metric is not finite, a checkpoint is corrupted, or the disk is full.
    """
    settings, accelerator = run.settings, run.accelerator
    if settings.optimiser.gradient_checkpointing:
        run.trunk.enable_gradient_checkpointing()
    if settings.optimiser.compile:
        run.trunk.blocks.compile(run.trunk.models.values())
    policy = [p for _, p in run.trunk.parameters_of("policy")]
    optimiser = make_optimiser([(policy, settings.optimiser.learning_rate)], settings.optimiser, run.trunk)
    trunk, optimiser = accelerator.prepare(run.trunk.to(accelerator.device), optimiser)
    state = RunState(run.trunk, optimiser)
    state.load(run.folder / "checkpoint", num_steps=settings.num_steps)
    log = StepLog(run, state, kl_setting="beta")
    with progress(run.name, settings.num_steps, state.step) as bar:
        while log.goes_on:
            step, clock = state.step, StepClock()
            # 1 collect
            rollouts = collect(run, step)
            clock.lap("collect")
            # 2 score
            scores, terms = score(run, rollouts)
            run.sampler.release()
            log.ask_alternatives(rollouts)
            clock.lap("score")
            # 3 label
            labels = label(run, scores, step)
            # 4 update
            rate = set_learning_rate(optimiser, learning_rate_factor(step, settings.num_steps, settings.optimiser))
            updates = update(run, trunk, optimiser, rollouts, labels, step)
            # 5 log
            num = settings.num_completions_per_prompt
            centred = group_relative(scores.view(-1, num), divide_by_std=False).view(-1, 1)
            against_group = zero_masked(centred.expand(rollouts.completion_mask.shape), rollouts.completion_mask)
            values = {
                **group_statistics(accelerator, rollouts, against_group, scores, terms, num),
                **updates,
                "learning_rate": rate,
            }
            clock.lap("update")
            values |= clock.metrics(values["num/tokens"])
            log.end_step(values, rollouts, scores, terms, {"advantages": against_group})
            bar.advance(1, reward=values["reward/mean"], kl=values["kl/exact"])
    return log.result()


def collect(run: OnlineDpoRun, step: int) -> Rollouts:
    """Step 1: K completions of each prompt of this process's share, with log-probabilities of policy and reference."""
    settings = run.settings
    groups = own_share(settings.num_prompts_per_step, run.accelerator)
    chosen = [group_source(run).prompt(step * settings.num_prompts_per_step + group) for group in groups]
    run.sampler.sync(run.num_updates)
    rollouts = group_source(run).draw(chosen, *((step, group) for group in groups))
    first = first_micro_batches(run, _group_lengths(run, rollouts), step)
    budget, everything = settings.optimiser.tokens_per_micro_batch, range(len(rollouts))
    whole = micro_batches(rollouts.sequences, everything, budget, run.sharing)
    return ask_policy_and_reference(
        run.trunk,
        rollouts,
        temperature=settings.decoding.temperature,
        tokens_per_batch=budget,
        exact=run.sampler.exact,
        entropy=settings.num_kept_rollouts > 0,
        parts=whole if first is None else [_rows_of(run, part) for part in first],
        collate=run.batch,
    )


def score(run: OnlineDpoRun, rollouts: Rollouts) -> tuple[Tensor, dict[str, Tensor]]:
    """Step 2: (B,) rewards, and their terms by name."""
    return score_rollouts(run.scorer, rollouts, missing_eos_penalty=run.settings.missing_eos_penalty)


def label(run: OnlineDpoRun, scores: Tensor, step: int) -> Tensor:
    """Step 3: (groups, pairs per group) labels; 1 = the first completion of the pair is preferred.

    The soft label σ(r_a − r_b) has the same expected gradient as a winner drawn with that probability, and less noise.
    There are no hard labels (the higher reward always wins): they have another optimum, at which the policy collapses.
    """
    grouped = scores.view(-1, run.settings.num_completions_per_prompt)
    first, second = pair_places(run.settings.num_completions_per_prompt)
    soft = preference_probability(grouped[:, first], grouped[:, second])
    if run.settings.labels == "soft":
        return soft
    groups = own_share(run.settings.num_prompts_per_step, run.accelerator)
    drawn = [random.Random(derive_seed(run.seed, "labels", step, group)) for group in groups]
    uniforms = torch.tensor([[one.random() for _ in first] for one in drawn])
    return (uniforms < soft).to(soft.dtype)


def update(
    run: OnlineDpoRun, trunk: Any, optimiser: Any, rollouts: Rollouts, labels: Tensor, step: int
) -> dict[str, float]:
    """Step 4: num_epochs passes of num_minibatches optimiser steps each; returns the step's metrics.

    A group is never split between micro-batches. The loss is divided by the number of pairs of the whole minibatch,
    over all micro-batches and processes. The host waits for the device once per optimiser step, for the gradient's
    norm, and for all metrics after the last.
    """
    settings, accelerator = run.settings, run.accelerator
    learning = [p for group in optimiser.param_groups for p in group["params"]]
    updates: list[list[dict[str, Tensor]]] = []
    norms: list[float] = []
    for epoch in range(settings.num_epochs):
        for parts in minibatches(run, _group_lengths(run, rollouts), step, epoch):
            groups = [group for part in parts for group in part]
            rows = _rows_of(run, groups)
            counts_here = torch.tensor([labels[groups].numel(), int(rollouts.completion_mask[rows].sum())])
            num_pairs, num_tokens = sum_over_processes(accelerator, counts_here).tolist()
            updates.append([])
            give_back()
            for number, part in enumerate(parts):
                with nullcontext() if number == len(parts) - 1 else accelerator.no_sync(trunk):
                    loss, statistics = pair_loss(run, trunk, rollouts, labels, part, num_pairs, num_tokens)
                    # Processes average their gradients, but the denominator already covers all processes.
                    accelerator.backward(loss * accelerator.num_processes)
                updates[-1].append(detached({**statistics, "loss/total": loss}))
            norms.append(clip_gradients(learning, settings.optimiser.max_grad_norm))
            optimiser.step()
            optimiser.zero_grad()
    rollouts.note_ratios()
    return update_statistics(accelerator, updates, norms)


def pair_loss(
    run: OnlineDpoRun,
    trunk: Any,
    rollouts: Rollouts,
    labels: Tensor,
    groups: list[int],
    num_pairs: float,
    num_tokens: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """DPO's loss on all pairs of some groups, divided by `num_pairs`; each completion passes through the model once."""
    settings, num = run.settings, run.settings.num_completions_per_prompt
    rows = _rows_of(run, groups)
    tokens = run.batch([rollouts.sequences[i] for i in rows])
    mask = tokens.completion_mask
    width, device = mask.shape[1], mask.device
    old_logps, all_ref_logps = (to_device(t[rows, :width], device) for t in (rollouts.old_logps, rollouts.ref_logps))
    ref_logps, lengths = all_ref_logps.sum(1), mask.sum(1)
    sides = [to_device(torch.tensor(places), device) for places in _rows_of_pairs(len(groups), num)]
    wanted = to_device(labels[groups].flatten().float(), device)
    seen: dict[str, Tensor] = {}

    def taken_at_once(outputs: TokenStatistics, part: slice) -> Tensor:
        logps = spread(outputs.logps, tokens)
        sums = logps.sum(1)
        first, second = (Side(sums[side], ref_logps[side], lengths[side]) for side in sides)
        loss = dpo_loss(
            Pairs(first, second, wanted, torch.ones_like(wanted)), beta=settings.beta, denominator=float(num_pairs)
        )
        with torch.no_grad():
            right = ((first.log_ratios - second.log_ratios).sign() * (wanted - 0.5).sign() + 1) / 2
            ratio = zero_masked(logps - old_logps, mask).exp()
        seen["loss/dpo"] = loss.detach()
        seen["accuracy/implicit"] = right.sum().double() / num_pairs
        seen["label/certainty"] = (2 * wanted - 1).abs().sum().double() / num_pairs
        seen["ratio/max_deviation"] = (ratio - 1).abs().max()
        seen["entropy/mean"] = masked_mean(spread(outputs.entropy, tokens), mask, num_tokens).detach()
        return loss

    outputs = trunk(
        tokens,
        ("policy",),
        temperature=settings.decoding.temperature,
        entropy=True,
        entropy_gradient=False,
        loss=taken_at_once,
        whole_loss=True,
    )["policy"]
    rollouts.visit(rows, outputs.logps)
    return outputs.loss, seen


def pair_places(num_completions: int) -> tuple[list[int], list[int]]:
    """All pairs of a group: the indices of their first and of their second completions."""
    pairs = list(combinations(range(num_completions), 2))
    return [a for a, _ in pairs], [b for _, b in pairs]


def _rows_of_pairs(num_groups: int, num_completions: int) -> tuple[list[int], list[int]]:
    """The rows of the first and of the second completions of all pairs, for groups of adjacent rows."""
    first, second = (
        [group * num_completions + k for group in range(num_groups) for k in places]
        for places in pair_places(num_completions)
    )
    return first, second


def _group_lengths(run: OnlineDpoRun, rollouts: Rollouts) -> list[int]:
    """Padded size of each group in tokens: the number of its rows × the longest."""
    num, sharing = run.settings.num_completions_per_prompt, run.sharing
    if sharing is not None:
        groups = [rollouts.sequences[start : start + num] for start in range(0, len(rollouts), num)]
        return [num_rows * longest for num_rows, longest in map(sharing.size, groups)]
    return (torch.tensor(rollouts.lengths).view(-1, num).amax(1) * num).tolist()


def _rows_of(run: OnlineDpoRun, groups: list[int]) -> list[int]:
    """Indices of the rollouts of some groups."""
    num = run.settings.num_completions_per_prompt
    return [group * num + k for group in groups for k in range(num)]
