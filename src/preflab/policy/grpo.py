"""The GRPO family: policy gradients that compare the completions of a prompt with one another, without a value role.

The table in `variants.py` defines the advantages, ratio and token weights of each algorithm. The loop of one step,
numbered as on its page in docs/algorithms/grpo.md:

    1 collect      K completions of each prompt by the current policy; log-probabilities of policy and reference
    2 score        a reward for every completion; groups of equal rewards are resampled if the settings ask for it
    3 advantages   each completion relative to its group; the KL, if it is part of the reward
    4 update       clipped updates over the rollouts; the KL, if it is a loss
    5 log          metrics, alarms, a few rollouts for reading, a checkpoint
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from preflab.maths.advantages import gae, leave_one_out, without_spread
from preflab.maths.kl import kl_rewards_exact_later, kl_rewards_k1
from preflab.maths.masks import masked_mean, zero_masked
from preflab.maths.reductions import StepCounts
from preflab.maths.sequence_ratio import clipped_ratio_loss
from preflab.models.chunked import TokenStatistics
from preflab.models.role_output import spread
from preflab.policy.completion_groups import ask_policy_and_reference, group_source, score_rollouts, with_rows
from preflab.policy.importance import importance_statistics, weighted
from preflab.policy.on_policy_run import OnPolicyRun, RunResult
from preflab.policy.on_policy_setup import first_micro_batches, kl_controller, minibatches
from preflab.policy.step_log import StepClock, StepLog
from preflab.policy.step_statistics import combined, detached, group_statistics, update_statistics
from preflab.policy.variants import KL_LOSSES, KL_OF_COMPLETIONS, VARIANTS
from preflab.progress import progress
from preflab.settings.grpo import GrpoSettings
from preflab.training.freed_memory import give_back
from preflab.training.optimiser import clip_gradients, learning_rate_factor, make_optimiser, set_learning_rate
from preflab.training.processes import own_share, sum_over_processes
from preflab.training.prompt_sharing import micro_batches
from preflab.training.rollouts import Rollouts
from preflab.training.state import RunState
from preflab.training.transfers import to_device

GrpoRun = OnPolicyRun[GrpoSettings]
"""A run whose trunk has the roles policy and reference."""


def train_grpo(run: GrpoRun) -> RunResult:
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
            rollouts, scores, terms, num_resampled = resample(run, step, rollouts, scores, terms)
            run.sampler.release()
            log.ask_alternatives(rollouts)
            clock.lap("score")
            # 3 advantages
            gained = advantages(run, rollouts, scores, controller.kl_coef)
            # 4 update
            rate = set_learning_rate(optimiser, learning_rate_factor(step, settings.num_steps, settings.optimiser))
            updates = update(run, trunk, optimiser, rollouts, gained, step, controller.kl_coef)
            # 5 log
            values = {
                **group_statistics(accelerator, rollouts, gained, scores, terms, settings.num_completions_per_prompt),
                **importance_statistics(accelerator, rollouts, settings.truncated_importance),
                **updates,
                "group/resampled": float(sum_over_processes(accelerator, torch.tensor(float(num_resampled)))),
                "kl/coef": controller.kl_coef,
                "learning_rate": rate,
            }
            clock.lap("update")
            values |= clock.metrics(values["num/tokens"])
            controller.update(values["kl/exact"], settings.num_completions_per_step)
            log.end_step(values, rollouts, scores, terms, {"advantages": gained})
            bar.advance(1, reward=values["reward/mean"], kl=values["kl/exact"])
    return log.result()


def collect(run: GrpoRun, step: int) -> Rollouts:
    """Step 1: K completions of each prompt of this process's share, with log-probabilities of policy and reference.

    Prompts are shuffled anew for each pass. All completions of a group are on one process.
    """
    settings = run.settings
    groups = own_share(settings.num_prompts_per_step, run.accelerator)
    chosen = [group_source(run).prompt(step * settings.num_prompts_per_step + group) for group in groups]
    run.sampler.sync(run.num_updates)
    rollouts = group_source(run).draw(chosen, *((step, group) for group in groups))
    return _asked(run, rollouts, first_micro_batches(run, rollouts.lengths, step, rollouts.sequences))


def score(run: GrpoRun, rollouts: Rollouts) -> tuple[Tensor, dict[str, Tensor]]:
    """Step 2: (B,) rewards, and their terms by name."""
    return score_rollouts(run.scorer, rollouts, missing_eos_penalty=run.settings.missing_eos_penalty)


def resample(
    run: GrpoRun, step: int, rollouts: Rollouts, scores: Tensor, terms: dict[str, Tensor]
) -> tuple[Rollouts, Tensor, dict[str, Tensor], int]:
    """Replace groups whose rewards are all equal by groups of random prompts, in up to `num_resamples` rounds.

    Source: Yu et al. 2025 (DAPO), "Dynamic Sampling".

    Returns:
        The rollouts, (B,) rewards and their terms after the replacement, and the number of groups drawn again.
    """
    num, num_resampled = run.settings.num_completions_per_prompt, 0
    share = own_share(run.settings.num_prompts_per_step, run.accelerator)
    for attempt in range(1, run.settings.num_resamples + 1):
        equal = without_spread(scores.view(-1, num)).nonzero().flatten().tolist()
        if not equal:
            break
        moments = [(step, share[group], attempt) for group in equal]
        chosen = [group_source(run).any_prompt(*moment) for moment in moments]
        new = _asked(run, group_source(run).draw(chosen, *moments))
        new_scores, new_terms = score(run, new)
        rows = [group * num + k for group in equal for k in range(num)]
        rollouts = with_rows(rollouts, rows, new)
        scores, terms = scores.clone(), {name: term.clone() for name, term in terms.items()}
        scores[rows] = new_scores
        for name, term in new_terms.items():
            terms[name][rows] = term
        num_resampled += len(equal)
    return rollouts, scores, terms, num_resampled


def advantages(run: GrpoRun, rollouts: Rollouts, scores: Tensor, kl_coef: float) -> Tensor:
    """Step 3: (B, T) advantages of each completion relative to its group, with the KL of the chosen treatment.

    Treatment (a) subtracts the KL of the whole completion from its reward before the group is compared. Treatment (c)
    adds to each token the KL reward of its later positions, less the mean of the group's other completions at that
    position.
    """
    settings, mask, num = run.settings, rollouts.completion_mask, run.settings.num_completions_per_prompt
    if settings.kl_treatment == "reward_k1":
        scores = scores + kl_rewards_k1(rollouts.old_logps, rollouts.ref_logps, mask, kl_coef).sum(1)
    per_completion = VARIANTS[run.settings.algorithm].advantages(scores.view(-1, num)).flatten()
    gained = per_completion.unsqueeze(-1).expand(mask.shape)
    if settings.kl_treatment == "exact":
        later = kl_rewards_exact_later(rollouts.exact_kl, mask, kl_coef)
        to_go, _ = gae(later, torch.zeros_like(later), mask, gamma=1.0, lam=1.0)
        by_place = to_go.view(-1, num, to_go.shape[1]).transpose(1, 2).reshape(-1, num)
        against_others = leave_one_out(by_place).view(-1, to_go.shape[1], num).transpose(1, 2)
        gained = gained + against_others.reshape(to_go.shape)
    return zero_masked(gained, mask)


def update(
    run: GrpoRun, trunk: Any, optimiser: Any, rollouts: Rollouts, gained: Tensor, step: int, kl_coef: float
) -> dict[str, float]:
    """Step 4: num_epochs passes of num_minibatches optimiser steps each; returns the step's metrics.

    Token weights are computed over all micro-batches and processes of a minibatch, so how it is split does not change
    the result. The host waits for the device once per optimiser step, for the gradient's norm, and for all metrics
    after the last.
    """
    settings, accelerator = run.settings, run.accelerator
    learning = [p for group in optimiser.param_groups for p in group["params"]]
    updates: list[list[dict[str, Tensor]]] = []
    norms: list[float] = []
    for epoch in range(settings.num_epochs):
        for parts in minibatches(run, rollouts.lengths, step, epoch, rollouts.sequences):
            rows = [row for part in parts for row in part]
            counts_here = torch.tensor([len(rows), int(rollouts.completion_mask[rows].sum())])
            num_sequences, num_tokens = sum_over_processes(accelerator, counts_here).tolist()
            counts = StepCounts(num_sequences, num_tokens, settings.max_policy_tokens)
            updates.append([])
            give_back()
            for number, part in enumerate(parts):
                with nullcontext() if number == len(parts) - 1 else accelerator.no_sync(trunk):
                    loss, statistics = policy_loss(run, trunk, rollouts, gained, part, counts, kl_coef)
                    # Processes average their gradients, but the weights already cover all processes.
                    accelerator.backward(loss * accelerator.num_processes)
                updates[-1].append(detached({**statistics, "loss/total": loss}))
            norms.append(clip_gradients(learning, settings.optimiser.max_grad_norm))
            optimiser.step()
            optimiser.zero_grad()
    rollouts.note_ratios()
    return update_statistics(accelerator, updates, norms)


def policy_loss(
    run: GrpoRun, trunk: Any, rollouts: Rollouts, gained: Tensor, rows: list[int], counts: StepCounts, kl_coef: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The variant's clipped loss, plus kl_coef · KL if the treatment has a KL loss; both with its token weights.

    A sum over tokens is taken chunk by chunk, while the logits are in memory. A ratio or KL of whole completions needs
    all tokens at once (`chunked.token_loss`).
    """
    settings, variant = run.settings, VARIANTS[run.settings.algorithm]
    tokens = run.batch([rollouts.sequences[i] for i in rows])
    mask = tokens.completion_mask
    gained = weighted(gained, rollouts, settings.truncated_importance)
    tables = {"old_logps": rollouts.old_logps, "ref_logps": rollouts.ref_logps, "gained": gained}
    columns = {name: to_device(table[rows, : mask.shape[1]], mask.device) for name, table in tables.items()}
    columns["weights"] = variant.reduction(mask, counts)
    of_tokens = variant.is_of_tokens and settings.kl_treatment not in KL_OF_COMPLETIONS
    if of_tokens:
        columns = {name: tokens.of_tokens(table) for name, table in columns.items()}
    seen: list[dict[str, Tensor]] = []

    def taken_at_once(outputs: TokenStatistics, part: slice) -> Tensor:
        if of_tokens:
            here, counted = {n: column[part] for n, column in columns.items()}, torch.ones_like(outputs.logps).bool()
        else:
            here, counted = columns, mask
            outputs = TokenStatistics(*(spread(column, tokens) for column in outputs))
        loss, statistics = clipped_losses(settings, outputs, here, counted, counts, kl_coef)
        seen.append(statistics)
        return loss

    outputs = trunk(
        tokens,
        ("policy",),
        temperature=settings.decoding.temperature,
        entropy=True,
        entropy_gradient=False,
        exact_kl=settings.kl_treatment == "exact",
        loss=taken_at_once,
        whole_loss=not of_tokens,
    )["policy"]
    rollouts.visit(rows, outputs.logps)
    return outputs.loss, combined(seen)


def clipped_losses(
    settings: GrpoSettings,
    outputs: TokenStatistics,
    columns: dict[str, Tensor],
    mask: Tensor,
    counts: StepCounts,
    kl_coef: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of `policy_loss` and its statistics, 0-d; all tensors are (B, T), or (n,) if it is a sum over tokens.

    `columns` are `old_logps`, `ref_logps`, the advantages `gained`, and the token weights `weights`.
    """
    variant = VARIANTS[settings.algorithm]
    policy = clipped_ratio_loss(
        outputs.logps,
        columns["old_logps"],
        columns["gained"],
        mask,
        columns["weights"],
        log_ratio=variant.log_ratio,
        clip_low=settings.clip_low or variant.clip_low,
        clip_high=settings.clip_high or variant.clip_high,
        num_tokens=counts.num_tokens,
    )
    statistics = {
        "loss/policy": policy.loss.detach(),
        "clip/policy": policy.clip_fraction,
        "ratio/approx_kl": policy.approx_kl,
        "ratio/max_deviation": policy.max_ratio_deviation,
        "entropy/mean": masked_mean(outputs.entropy, mask, counts.num_tokens).detach(),
    }
    kl_loss = KL_LOSSES.get(settings.kl_treatment)
    if kl_loss is None:
        return policy.loss, statistics
    kl = kl_loss(outputs, columns["ref_logps"], mask, columns["weights"])
    return policy.loss + kl_coef * kl, {**statistics, "loss/kl": kl.detach()}


def _asked(run: GrpoRun, rollouts: Rollouts, parts: list[list[int]] | None = None) -> Rollouts:
    """Fill in what `ask_policy_and_reference` computes, with the settings of the run."""
    settings = run.settings
    budget, everything = settings.optimiser.tokens_per_micro_batch, range(len(rollouts))
    return ask_policy_and_reference(
        run.trunk,
        rollouts,
        temperature=settings.decoding.temperature,
        tokens_per_batch=budget,
        exact=run.sampler.exact,
        entropy=settings.num_kept_rollouts > 0,
        parts=parts or micro_batches(rollouts.sequences, everything, budget, run.sharing),
        collate=run.batch,
    )
