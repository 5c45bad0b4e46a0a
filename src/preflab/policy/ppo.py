"""Proximal policy optimisation against a reward, with a KL penalty to a reference (Schulman et al. 2017).

The loop of one step, numbered as on its page in docs/algorithms/ppo.md:

    1 collect      completions of the current policy; log-probabilities of policy and reference, exact KL, old values
    2 score        a reward for every completion
    3 advantages   KL treatment, generalised advantage estimation (GAE), whitening
    4 update       several passes of clipped updates over the same rollouts
    5 log          metrics, alarms, a few rollouts for reading, a checkpoint

Sampler and scorer are arguments; this file has no code for a particular engine or reward model.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from preflab.maths.advantages import (
    gae,
    moment_sums,
    scale_to_unit_variance,
    scores_at_last_token,
    whiten,
    whitening_scale,
)
from preflab.maths.kl import exact_kl_loss, kl_rewards_exact_later, kl_rewards_k1, sequence_kl_loss
from preflab.maths.losses import clipped_policy_loss, clipped_value_loss
from preflab.maths.masks import masked_mean
from preflab.models.chunked import TokenStatistics
from preflab.models.role_output import spread
from preflab.models.trunk import Role
from preflab.policy.completion_groups import score_rollouts
from preflab.policy.importance import importance_statistics, weighted
from preflab.policy.on_policy_run import OnPolicyRun, RunResult
from preflab.policy.on_policy_setup import first_micro_batches, kl_controller, minibatches, ppo_optimiser
from preflab.policy.step_log import StepClock, StepLog
from preflab.policy.step_statistics import (
    LearningBatch,
    combined,
    detached,
    rollout_statistics,
    update_statistics,
)
from preflab.progress import progress
from preflab.seeds import derive_seed
from preflab.settings.ppo import PpoSettings
from preflab.training.batches import TokenBatch, token_budget_batches
from preflab.training.freed_memory import give_back
from preflab.training.optimiser import clip_gradients, learning_rate_factor, set_learning_rate
from preflab.training.processes import own_share, sum_over_processes
from preflab.training.rollouts import Rollouts
from preflab.training.row_order import row_at
from preflab.training.state import RunState
from preflab.training.transfers import to_device

PpoRun = OnPolicyRun[PpoSettings]
"""A run whose trunk has the roles policy, reference and value."""


def train_ppo(run: PpoRun) -> RunResult:
    """Train the policy role of `run.trunk` (and its value role), resuming from the folder's checkpoint if there is one.

    Raises:
        PreflabError: a reward, a gradient or a metric is not finite, a checkpoint is corrupted, or the disk is full.
    """
    settings, accelerator = run.settings, run.accelerator
    if settings.optimiser.gradient_checkpointing:
        run.trunk.enable_gradient_checkpointing()
    if settings.optimiser.compile:
        run.trunk.blocks.compile(run.trunk.models.values())
    optimiser = ppo_optimiser(run.trunk, settings)
    trunk, optimiser = accelerator.prepare(run.trunk.to(accelerator.device), optimiser)
    controller = kl_controller(settings)
    state = RunState(run.trunk, optimiser, {"kl_controller": controller})
    state.load(run.folder / "checkpoint", num_steps=settings.num_steps)
    log = StepLog(run, state)
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
            # 3 advantages
            batch = advantages(run, rollouts, scores, controller.kl_coef)
            # 4 update
            rate = set_learning_rate(optimiser, learning_rate_factor(step, settings.num_steps, settings.optimiser))
            updates = update(run, trunk, optimiser, rollouts, batch, step, controller.kl_coef)
            # 5 log
            values = {
                **rollout_statistics(accelerator, rollouts, batch, scores, terms),
                **importance_statistics(accelerator, rollouts, settings.truncated_importance),
                **updates,
                "kl/coef": controller.kl_coef,
                "learning_rate": rate,
            }
            clock.lap("update")
            values |= clock.metrics(values["num/tokens"])
            if step >= settings.num_critic_warmup_steps:  # the warm-up freezes the policy: kl_coef has no effect
                controller.update(values["kl/exact"], settings.num_completions_per_step)
            log.end_step(
                values,
                rollouts,
                scores,
                terms,
                {"advantages": batch.advantages, "values": rollouts.values, "returns": batch.returns},
            )
            bar.advance(1, reward=values["reward/mean"], kl=values["kl/exact"])
    return log.result()


def collect(run: PpoRun, step: int) -> Rollouts:
    """Step 1: completions of the current policy, with log-probabilities, exact KL and values computed by the roles.

    Prompts are shuffled anew for each pass. Each completion has its own seed, so it depends neither on the number of
    processes nor on the batch in which it is decoded.
    """
    settings = run.settings
    num = settings.num_completions_per_step
    rows = own_share(num, run.accelerator)
    places = [(step * num + row) // settings.num_completions_per_prompt for row in rows]  # adjacent rows share a prompt
    chosen = [run.prompts[row_at(place, len(run.prompts), run.seed)] for place in places]
    seeds = [derive_seed(run.seed, "rollout", step, row) for row in rows]
    starts = [derive_seed(run.seed, "start", place) for place in places]
    run.sampler.sync(run.num_updates)
    rollouts = run.sample(chosen, seeds=seeds, starts=starts, rows=rows)
    roles: tuple[Role, ...] = ("policy", "reference", "value")
    first = first_micro_batches(run, rollouts.lengths, step)
    with torch.no_grad():
        for part in first or token_budget_batches(rollouts.lengths, settings.optimiser.tokens_per_micro_batch):
            tokens = run.trunk.collate([rollouts.sequences[i] for i in part])
            states = rollouts.states_of(part) if first is None else None
            outputs = run.trunk(
                tokens,
                roles,
                temperature=settings.decoding.temperature,
                entropy=settings.num_kept_rollouts > 0,
                entropy_gradient=False,
                exact_kl=True,
                policy_states=states,
            )
            for target, source in (
                (rollouts.trainer_logps, outputs["policy"].logps),
                (rollouts.ref_logps, outputs["reference"].logps),
                (rollouts.exact_kl, outputs["policy"].kl),
                (rollouts.entropy, outputs["policy"].entropy),
                (rollouts.values, outputs["value"].values),
            ):
                target[part, : source.shape[1]] = source.cpu()
            rollouts.last_values[part] = outputs["value"].last_values.cpu()
    if first is not None:
        rollouts.take_trainers_logps()
    rollouts.states[:] = [None] * len(rollouts)  # not needed again, and large
    return rollouts


def score(run: PpoRun, rollouts: Rollouts) -> tuple[Tensor, dict[str, Tensor]]:
    """Step 2: (B,) rewards, less the penalty for completions cut by the length limit, and their terms by name.

    They include what an environment gave (`turn_rewards`). With `bootstrap_truncated` nothing else counts in a
    completion that would go on; its last value takes the place of the rest (`advantages`).
    """
    total, terms = score_rollouts(run.scorer, rollouts, missing_eos_penalty=run.settings.missing_eos_penalty)
    if run.settings.bootstrap_truncated:
        total = torch.where(rollouts.terminal, total, rollouts.turn_rewards.sum(1))
    return total, terms


def advantages(run: PpoRun, rollouts: Rollouts, scores: Tensor, kl_coef: float) -> LearningBatch:
    """Step 3: token rewards with the KL of the chosen treatment, then GAE, and whitening over the whole batch.

    An environment's reward of a turn is at the turn's last token, everything else of the score at the very last.
    """
    settings, mask = run.settings, rollouts.completion_mask
    rewards = scores_at_last_token(scores - rollouts.turn_rewards.sum(1), mask) + rollouts.turn_rewards
    if settings.kl_treatment == "reward_k1":
        rewards = rewards + kl_rewards_k1(rollouts.old_logps, rollouts.ref_logps, mask, kl_coef)
    if settings.kl_treatment == "exact":
        rewards = rewards + kl_rewards_exact_later(rollouts.exact_kl, mask, kl_coef)
    scale = 1.0
    if settings.whiten_rewards:
        sums = sum_over_processes(run.accelerator, moment_sums(rewards, mask))
        if settings.whiten_rewards == "published":
            rewards = whiten(rewards, mask, shift_mean=False, sums=sums)
        else:
            rewards = scale_to_unit_variance(rewards, mask, sums=sums)
        scale = float(whitening_scale(sums))
    bootstrap = rollouts.last_values.masked_fill(rollouts.terminal, 0.0) if settings.bootstrap_truncated else None
    raw, returns = gae(
        rewards, rollouts.values, mask, gamma=settings.gamma, lam=settings.lam, bootstrap_values=bootstrap
    )
    if not settings.whiten_advantages:
        return LearningBatch(raw, returns, raw, scale)
    sums = sum_over_processes(run.accelerator, moment_sums(raw, mask))
    return LearningBatch(whiten(raw, mask, sums=sums), returns, raw, scale * float(whitening_scale(sums)))


def update(
    run: PpoRun, trunk: Any, optimiser: Any, rollouts: Rollouts, batch: LearningBatch, step: int, kl_coef: float
) -> dict[str, float]:
    """Step 4: num_epochs passes of num_minibatches optimiser steps each; returns the step's metrics.

    Every loss is divided by the tokens of the whole minibatch, over all micro-batches and processes, so how a minibatch
    is split does not change the result. The roles take turns, so that only one role's activations are in memory. The
    host waits for the device once per optimiser step, for the gradient's norm, and for all metrics after the last.
    """
    settings, accelerator = run.settings, run.accelerator
    learning = [p for group in optimiser.param_groups for p in group["params"]]
    losses = (value_loss,) if step < settings.num_critic_warmup_steps else (policy_loss, value_loss)
    updates: list[list[dict[str, Tensor]]] = []
    norms: list[float] = []
    for epoch in range(settings.num_epochs):
        for parts in minibatches(run, rollouts.lengths, step, epoch):
            rows = [row for part in parts for row in part]
            num_tokens = float(sum_over_processes(accelerator, rollouts.completion_mask[rows].sum()))
            updates.append([])
            for role_loss in losses:
                give_back()
                for number, part in enumerate(parts):
                    with nullcontext() if number == len(parts) - 1 else accelerator.no_sync(trunk):
                        loss, statistics = role_loss(run, trunk, rollouts, batch, part, num_tokens, kl_coef)
                        # Processes average their gradients, but the denominator already covers all processes.
                        accelerator.backward(loss * accelerator.num_processes)
                    updates[-1].append(detached({**statistics, "loss/total": loss}))
            norms.append(clip_gradients(learning, settings.optimiser.max_grad_norm))
            optimiser.step()
            optimiser.zero_grad()
    rollouts.note_ratios()
    return update_statistics(accelerator, updates, norms)


def policy_loss(
    run: PpoRun,
    trunk: Any,
    rollouts: Rollouts,
    batch: LearningBatch,
    rows: list[int],
    num_tokens: float,
    kl_coef: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """policy − entropy_coef · entropy + kl_coef · advantage_scale · KL, summed over rows and divided by `num_tokens`.

    Only KL treatments (b) and (c) have the KL term. It is multiplied by the factor that whitening applied to the
    advantages; otherwise the effective weight of the KL against the reward would differ from `kl_coef`.
    """
    settings = run.settings
    tokens, of = _rows(run, rollouts, rows)
    mask, kl_weight = tokens.completion_mask, kl_coef * batch.advantage_scale
    gained = weighted(batch.advantages, rollouts, settings.truncated_importance)
    old_logps, weights = (tokens.of_tokens(of(column)) for column in (rollouts.old_logps, gained))
    of_sequences = settings.kl_treatment == "sequence_loss"  # the KL of a completion needs all of its tokens at once
    seen: list[dict[str, Tensor]] = []

    def taken_at_once(outputs: TokenStatistics, part: slice) -> Tensor:
        loss, part_statistics = token_losses(settings, outputs, old_logps[part], weights[part], num_tokens, kl_weight)
        if of_sequences:
            kl = sequence_kl_loss(spread(outputs.logps, tokens), of(rollouts.ref_logps), mask, num_tokens)
            loss, part_statistics["loss/kl"] = loss + kl_weight * kl, kl.detach()
        seen.append(part_statistics)
        return loss

    outputs = trunk(
        tokens,
        ("policy",),
        temperature=settings.decoding.temperature,
        entropy=True,
        entropy_gradient=settings.entropy_coef > 0,
        exact_kl=settings.kl_treatment == "exact",
        loss=taken_at_once,
        whole_loss=of_sequences,
    )["policy"]
    rollouts.visit(rows, outputs.logps)
    return outputs.loss, combined(seen)


def token_losses(
    settings: PpoSettings,
    tokens: TokenStatistics,
    old_logps: Tensor,
    advantages: Tensor,
    num_tokens: float,
    kl_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The part of `policy_loss` that is a sum over tokens, for some of the tokens; all tensors are (n,)."""
    every = torch.ones_like(tokens.logps, dtype=torch.bool)
    policy = clipped_policy_loss(
        tokens.logps,
        old_logps,
        advantages,
        every,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        denominator=num_tokens,
    )
    entropy = masked_mean(tokens.entropy, every, num_tokens)
    loss = policy.loss - settings.entropy_coef * entropy
    statistics = {
        "loss/policy": policy.loss.detach(),
        "clip/policy": policy.clip_fraction,
        "ratio/approx_kl": policy.approx_kl,
        "ratio/max_deviation": policy.max_ratio_deviation,
        "entropy/mean": entropy.detach(),
    }
    if settings.kl_treatment != "exact":
        return loss, statistics
    kl = exact_kl_loss(tokens.kl, every, num_tokens)
    return loss + kl_weight * kl, {**statistics, "loss/kl": kl.detach()}


def value_loss(
    run: PpoRun,
    trunk: Any,
    rollouts: Rollouts,
    batch: LearningBatch,
    rows: list[int],
    num_tokens: float,
    kl_coef: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """value_coef · clipped squared error of the values, summed over the rows' tokens and divided by `num_tokens`."""
    settings = run.settings
    tokens, of = _rows(run, rollouts, rows)
    value = clipped_value_loss(
        trunk(tokens, ("value",))["value"].values,
        of(rollouts.values),
        of(batch.returns),
        tokens.completion_mask,
        clip=settings.value_clip,
        denominator=num_tokens,
    )
    return settings.value_coef * value.loss, {
        "loss/value": value.loss.detach(),
        "clip/value": value.clip_fraction,
    }


def _rows(run: PpoRun, rollouts: Rollouts, rows: list[int]) -> tuple[TokenBatch, Callable[[Tensor], Tensor]]:
    """Some rollouts as a token batch, and a function that cuts (B, T) tensors to the same rows and width."""
    tokens = run.trunk.collate([rollouts.sequences[i] for i in rows])
    width = tokens.completion_mask.shape[1]
    return tokens, lambda tensor: to_device(tensor[rows, :width], run.trunk.device)
