"""Direct learning from preferences: one loop for DPO, related losses and weighted sums of them (Rafailov et al. 2023).

The steps of the loop, numbered as on its page in docs/algorithms/dpo.md:

    1 collect     the next preference groups, each whole; every completion of a group appears once
    2 reference   the reference's log-probabilities, computed once before the first step; KTO's z₀ in every step
    3 losses      log-probabilities of the policy, the losses of the recipe, their gradient
    4 update      one step of AdamW
    5 log         metrics, held-out groups and pairs, samples with their KL, alarms, a checkpoint

The losses are defined in `preflab.settings.preference_losses`; this file has no code for a particular loss.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.maths.dpo import kto_kl
from preflab.models.chunked import TokenStatistics
from preflab.models.role_output import spread
from preflab.models.trunk import Role, Trunk
from preflab.policy.dpo_groups import Group, Weights, group_batches, learned, padded_tokens, with_reference
from preflab.policy.dpo_logps import ReferenceCache, all_logps, sequence_logps
from preflab.policy.dpo_losses import Learned, implicit_reward, summed
from preflab.policy.dpo_pairs import DpoPairs
from preflab.policy.dpo_statistics import Sums, added, figures, reduced, sample_statistics, statistics
from preflab.policy.step_statistics import read_statistics
from preflab.progress import progress
from preflab.seeds import derive_seed
from preflab.settings.dpo import DpoSettings
from preflab.training.alarms import Alarm, Alarms
from preflab.training.batches import TokenBatch, TokenSequence, token_budget_batches
from preflab.training.kept_pairs import KeptPair
from preflab.training.metrics import MetricsLog
from preflab.training.optimiser import clip_gradients, learning_rate_factor, make_optimiser, set_learning_rate
from preflab.training.processes import make_accelerator, own_share
from preflab.training.protocols import Sampler, SampleRequest
from preflab.training.row_order import own_micro_batches, rows_of_step
from preflab.training.shared_prompts import share_rows
from preflab.training.state import RunState
from preflab.training.transfers import to_device


@dataclass
class DpoRun:
    """The inputs of a DPO run."""

    trunk: Trunk
    """Has the role policy, and the role reference unless the policy before its first step is the reference."""
    settings: DpoSettings
    groups: Sequence[Group]
    """The training groups."""
    held_out: Sequence[Group]
    num_steps: int
    """Total number of optimiser steps."""
    cache: ReferenceCache
    folder: Path
    """Run folder for checkpoints, metrics and alarms; a restart resumes from it."""
    seed: int
    name: str = "dpo"
    """The stage's name, for the progress bar."""
    sampler: Sampler | None = None
    """Samples from the trunk's policy role to measure the KL; None: the KL is not measured."""
    sample_prompts: Sequence[tuple[int, ...]] = ()
    """Token ids of the held-out prompts to sample from. Order matters: samples are seeded by position."""
    kept_pairs: Sequence[KeptPair] = ()
    """Pairs whose numbers are written into the folder during training."""
    longest_row: int | None = None
    """Maximum tokens of a row shared by completions of one prompt; None: one row per completion."""
    accelerator: Any = field(default_factory=make_accelerator)

    def batch(self, sequences: Sequence[TokenSequence]) -> TokenBatch:
        """Completions of some groups as a batch. In shared rows the prompt passes through the model once per row."""
        if self.longest_row is None:
            return self.trunk.collate(sequences)
        return share_rows(sequences, self.trunk.pad_id, self.longest_row)


@dataclass(frozen=True)
class DpoResult:
    """Number of steps of a finished run, and the alarms that fired."""

    num_steps: int
    alarms: list[Alarm]


def train_dpo(run: DpoRun) -> DpoResult:
    """Train the policy role of `run.trunk`, resuming from the folder's checkpoint if there is one.

    Raises:
        PreflabError: a gradient or a metric is not finite, a checkpoint is corrupted, or the disk is full.
    """
    settings, accelerator = run.settings, run.accelerator
    if settings.optimiser.gradient_checkpointing:
        run.trunk.enable_gradient_checkpointing()
    if settings.optimiser.compile:
        run.trunk.blocks.compile(run.trunk.models.values())
    groups, held_out = ask_reference(run)
    kept = run.kept_pairs if accelerator.is_main_process else ()
    pairs = DpoPairs(run.trunk, settings, kept, reference_role(run.trunk))
    learning = [parameter for _, parameter in run.trunk.parameters_of("policy")]
    optimiser = make_optimiser([(learning, settings.optimiser.learning_rate)], settings.optimiser, run.trunk)
    model, optimiser = accelerator.prepare(run.trunk.to(accelerator.device), optimiser)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state = RunState(run.trunk, optimiser)
    state.load(run.folder / "checkpoint", num_steps=run.num_steps)
    metrics = MetricsLog(run.folder / "metrics.jsonl", step=state.step)
    alarms = Alarms(
        run.folder / "alarms.jsonl",
        kl_budget=settings.kl_budget,
        step=state.step,
        kl_setting="beta of the losses",
        num_steps=run.num_steps,
    )
    fired: list[Alarm] = []
    pairs.begin(run.folder, state.step)

    with progress(run.name, run.num_steps, state.step) as bar:
        while state.step < run.num_steps:
            step, started = state.step, time.perf_counter()

            # 1 collect: the next whole groups, in an order that depends only on seed and step
            rows = rows_of_step(step, len(groups), settings.num_groups_per_step, run.seed)
            batch = [groups[i] for i in rows]

            # 2 reference: the groups already hold its log-probabilities; KTO's z₀ is computed in every step
            kl = reference_point(run, batch)

            # 3 losses: the gradient over all micro-batches
            rate = set_learning_rate(optimiser, learning_rate_factor(step, run.num_steps, settings.optimiser))
            optimiser.zero_grad(set_to_none=True)
            values = accumulate(run, model, batch, kl)

            # 4 update
            values["grad/norm"] = clip_gradients(parameters, settings.optimiser.max_grad_norm)
            optimiser.step()

            # 5 log
            state.step += 1
            num_tokens, seconds = sum(group.num_tokens for group in batch), time.perf_counter() - started
            values |= {"learning_rate": rate, "num/tokens": num_tokens, "time/step": seconds}
            values["tokens/s"] = num_tokens / seconds
            last = state.step == run.num_steps
            if last or state.step % settings.watch.every == 0:
                values |= look_at_held_out(run, held_out) | look_at_samples(run, state.step)
                pairs.look(state.step, last=last)
            if accelerator.is_main_process:
                metrics.write(step, values)
                fired += alarms.check(metrics.rows())
                if last or state.step % settings.run.save_every == 0:
                    state.save(run.folder / "checkpoint")
            accelerator.log(values, step=step)
            bar.advance(1, loss=values["loss/total"], accuracy=values.get("accuracy/implicit", 0.5))
    return DpoResult(state.step, fired)


def ask_reference(run: DpoRun) -> tuple[list[Group], list[Group]]:
    """Training and held-out groups with the reference's log-probabilities, read from the cache or computed now.

    Call it before a checkpoint is loaded: a trunk without a reference role uses the policy before its first step.
    """
    every = [*run.groups, *run.held_out]
    role = reference_role(run.trunk)
    sequences = [sequence for group in every for sequence in group.asked]
    budget = run.settings.optimiser.tokens_per_micro_batch
    run.trunk.to(run.accelerator.device)
    known = with_reference(every, run.cache.logps(run.trunk, sequences, role, budget, run.accelerator))
    return known[: len(run.groups)], known[len(run.groups) :]


def reference_role(trunk: Trunk) -> Role:
    """The role that gives the reference's numbers before the first step.

    It is the reference where there is one at any time, as the base model under adapters or as a separate model.
    """
    return "reference" if trunk.lora is not None or "reference" in trunk.models else "policy"


def reference_point(run: DpoRun, groups: Sequence[Group]) -> float:
    """Step 2: KTO's z₀, estimated from the mismatched completions of the groups; 0 if there are none."""
    sequences = [sequence for group in groups for sequence in group.mismatched]
    if not sequences:
        return 0.0
    budget = run.settings.optimiser.tokens_per_micro_batch
    logps = all_logps(run.trunk, sequences, "policy", budget, run.accelerator)
    ref_logps = torch.tensor([value for group in groups for value in group.ref_logps[len(group.sequences) :]])
    return float(kto_kl(logps - ref_logps))


def accumulate(run: DpoRun, model: Any, groups: Sequence[Group], kl: float) -> dict[str, float]:
    """Step 3: add the gradient of one optimiser step to the parameters; returns its metrics over all processes.

    Every loss is divided by the weights of the whole step, so the split into micro-batches does not change the result.
    A group above the token budget is processed in slices, in two passes: the first, without a graph, computes the
    derivative of the loss with respect to each log-probability; the second back-propagates it. With several processes
    the group is not sliced, because `backward()` is a collective call and every process must make the same number of
    calls. The metrics stay on the device until the last micro-batch.
    """
    accelerator, weights = run.accelerator, Weights.of(groups)
    budget = run.settings.optimiser.tokens_per_micro_batch
    parts: list[dict[str, Tensor]] = []
    for indices, factor in own_micro_batches(
        group_batches(groups, budget, run.longest_row), accelerator.process_index, accelerator.num_processes
    ):
        part = [groups[i] for i in indices]
        slices = token_budget_batches([len(s) for group in part for s in group.sequences], budget)
        fits = len(part) > 1 or padded_tokens(part[0], run.longest_row) <= budget
        whole = fits or accelerator.num_processes > 1
        logps = _backward(run, model, part, None if whole else slices, weights, kl, factor)
        counted = part if factor else [replace(group, pairs=(), verdicts=()) for group in part]
        parts.append(_sums(run, logps, counted, weights, kl))
    return _metrics(run, reduced(accelerator, _added_up(parts)), kl)


def _backward(
    run: DpoRun,
    model: Any,
    groups: list[Group],
    slices: list[list[int]] | None,
    weights: Weights,
    kl: float,
    factor: float,
) -> Tensor:
    """Backward pass of one micro-batch, or of one large group in slices; returns its log-probabilities, detached."""
    accelerator = run.accelerator
    sequences = [sequence for group in groups for sequence in group.sequences]

    def batch_of(places: Sequence[int]) -> TokenBatch:
        return run.batch([sequences[i] for i in places]).to(accelerator.device)

    if slices is None or len(slices) == 1:
        batch = batch_of(range(len(sequences)))

        def taken_at_once(outputs: TokenStatistics, part: slice) -> Tensor:
            return _loss(run, spread(outputs.logps, batch).sum(1), groups, weights, kl)[0]

        policy = model(batch, ("policy",), loss=taken_at_once, whole_loss=True)["policy"]
        accelerator.backward(factor * policy.loss)
        return policy.logps.sum(1).detach()
    batches = [batch_of(places) for places in slices]
    with torch.no_grad():
        in_slices = [sequence_logps(model, batch, "policy", accelerator.device) for batch in batches]
    order = torch.tensor([i for places in slices for i in places]).argsort()
    logps = torch.cat(in_slices)[to_device(order, accelerator.device)].requires_grad_()
    (wanted,) = torch.autograd.grad(_loss(run, logps, groups, weights, kl)[0], logps)
    for places, batch in zip(slices, batches, strict=True):
        slopes = wanted[to_device(torch.tensor(places), accelerator.device)][batch.token_sequences]
        accelerator.backward(factor * _product_of_tokens(model, batch, slopes))
    return logps.detach()


def _product_of_tokens(model: Any, batch: TokenBatch, slopes: Tensor) -> Tensor:
    """Σ slopes · log π over the tokens of a batch, 0-d: its gradient is that of a loss with these slopes (N,)."""

    def taken_at_once(outputs: TokenStatistics, part: slice) -> Tensor:
        return (slopes[part] * outputs.logps).sum()

    product: Tensor = model(batch, ("policy",), loss=taken_at_once)["policy"].loss
    return product


def _loss(
    run: DpoRun, logps: Tensor, groups: Sequence[Group], weights: Weights, kl: float
) -> tuple[Tensor, dict[str, Tensor], Learned]:
    """The loss of some groups of a step, its terms by name, and the tensors it was computed from."""
    learned_values = Learned(*learned(logps, groups), weights, kl)
    return *summed(run.settings.losses, learned_values), learned_values


@torch.no_grad()
def _sums(run: DpoRun, logps: Tensor, groups: Sequence[Group], weights: Weights, kl: float) -> dict[str, Tensor]:
    """Losses and statistics of some groups of a step, 0-d."""
    total, terms, learned_values = _loss(run, logps, groups, weights, kl)
    return {"loss/total": total, **terms, **statistics(learned_values, implicit_reward(run.settings.losses))}


def _added_up(parts: Sequence[dict[str, Tensor]]) -> Sums:
    """The sums over the parts of a step, as floats; the host waits for the device once."""
    sums: Sums = {}
    for part in read_statistics(parts):
        sums = added(sums, part)
    return sums


def _metrics(run: DpoRun, sums: Sums, kl: float) -> dict[str, float]:
    losses = {name: value for name, value in sums.items() if name.startswith("loss/")}
    return {**losses, **figures(sums), **({"kl/mismatched": kl} if run.settings.learns_verdicts else {})}


def look_at_held_out(run: DpoRun, groups: Sequence[Group]) -> dict[str, float]:
    """Loss, accuracy, margin and log-ratios of the held-out groups (`held_out/…`); empty without such groups."""
    if not groups:
        return {}
    weights, kl = Weights.of(groups), reference_point(run, groups)
    sequences = [sequence for group in groups for sequence in group.sequences]
    budget = run.settings.optimiser.tokens_per_micro_batch
    logps = all_logps(run.trunk, sequences, "policy", budget, run.accelerator)
    metrics = _metrics(run, _added_up([_sums(run, logps, groups, weights, kl)]), kl)
    names = {
        "loss/total": "held_out/loss",
        "accuracy/implicit": "held_out/accuracy",
        "implicit/margin": "held_out/margin",
        "logratio/chosen": "held_out/logratio_chosen",
        "logratio/rejected": "held_out/logratio_rejected",
    }
    return {new: metrics[old] for old, new in names.items() if old in metrics}


def look_at_samples(run: DpoRun, num_updates: int) -> dict[str, float]:
    """KL to the reference, entropy and length of completions sampled for held-out prompts, with fixed seeds."""
    if run.sampler is None or not run.sample_prompts:
        return {}
    decoding = run.settings.watch.decoding
    rows = own_share(len(run.sample_prompts), run.accelerator)
    requests = [SampleRequest(run.sample_prompts[row], derive_seed(run.seed, "watch", row)) for row in rows]
    run.sampler.sync(num_updates)
    sampled = run.sampler.sample(requests, decoding)
    run.sampler.release()
    sequences = [TokenSequence(r.prompt_ids, one.token_ids) for r, one in zip(requests, sampled, strict=True)]
    budget = run.settings.optimiser.tokens_per_micro_batch
    return sample_statistics(run.trunk, sequences, sampled, budget, decoding.temperature, run.accelerator)
