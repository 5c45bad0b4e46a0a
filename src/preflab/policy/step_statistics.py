"""Metrics of an on-policy step, over all its updates and processes, and the batch that PPO learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from preflab.maths.advantages import moment_sums, without_spread
from preflab.maths.kl import kl_policy_ref_k3
from preflab.maths.losses import explained_variance, residual_sums
from preflab.maths.masks import zero_masked
from preflab.training.processes import max_over_processes, sum_over_processes
from preflab.training.rollouts import Rollouts, repeat_shares


@dataclass
class LearningBatch:
    """Input of the update; tensors are (B, T)."""

    advantages: Tensor
    returns: Tensor
    raw_advantages: Tensor
    """Before whitening."""
    advantage_scale: float
    """The factor that whitening of rewards and advantages applied. Multiply a KL loss added to their loss by it."""


def detached(statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers without their graphs, to be kept until the end of the step.

    Backward frees the activations of a graph, not its nodes. Those of earlier micro-batches would lie between the freed
    activations, which the C library could then not join: a PPO step on a CPU took 500 MiB more at its peak.
    """
    return {name: value.detach() for name, value in statistics.items()}


def read_statistics(parts: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """The same statistics as floats. The host waits for the device once, not for each number."""
    values = [value.detach() for part in parts for value in part.values()]
    numbers = iter(torch.stack(values).tolist() if values else [])
    return [{name: next(numbers) for name in part} for part in parts]


def combined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The statistics of one micro-batch from those of its chunks, on the device; see `add_statistics`."""
    if len(parts) == 1:
        return dict(parts[0])
    columns = {name: torch.stack([part[name] for part in parts]).double() for name in parts[0]}
    return {n: column.amax() if n == "ratio/max_deviation" else column.sum() for n, column in columns.items()}


def update_statistics(
    accelerator: Any, updates: Sequence[Sequence[Mapping[str, Tensor]]], norms: Sequence[float]
) -> dict[str, float]:
    """Metrics of a step's updates over all processes; call it after the last update.

    Args:
        accelerator: see `training.processes`.
        updates: per optimiser step, the statistics of its micro-batches, on the device.
        norms: per optimiser step, the norm of its gradient.
    """
    numbers = iter(read_statistics([part for parts in updates for part in parts]))
    reduced_sums = []
    for parts, norm in zip(updates, norms, strict=True):
        sums: dict[str, float] = {}
        for _ in parts:
            add_statistics(sums, next(numbers))
        reduced_sums.append(reduced(accelerator, {**sums, "grad/norm": norm}))
    return step_statistics(reduced_sums)


def add_statistics(sums: dict[str, float], statistics: Mapping[str, float]) -> None:
    """Add the statistics of one micro-batch to `sums`; of `ratio/max_deviation` the maximum is kept."""
    for name, value in statistics.items():
        former = sums.get(name, 0.0)
        sums[name] = max(former, value) if name == "ratio/max_deviation" else former + value


def step_statistics(updates: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over a step's updates; the ratio's deviation is reported as the first and the largest value instead."""
    mean = {name: sum(one[name] for one in updates) / len(updates) for name in updates[0]}
    if "ratio/max_deviation" in mean:
        deviations = [one["ratio/max_deviation"] for one in updates]
        mean |= {"ratio/max_deviation": max(deviations), "ratio/first_deviation": deviations[0]}
    return {**mean, "num/updates": len(updates)}


def reduced(accelerator: Any, sums: dict[str, float]) -> dict[str, float]:
    """Statistics of one minibatch combined over all processes; `grad/norm` is the same on each."""
    if accelerator.num_processes == 1:
        return sums
    names = [name for name in sums if name not in ("ratio/max_deviation", "grad/norm")]
    total = sum_over_processes(accelerator, torch.tensor([sums[n] for n in names]))
    reduced = dict(zip(names, total.tolist(), strict=True))
    if "ratio/max_deviation" in sums:
        reduced["ratio/max_deviation"] = max_over_processes(accelerator, sums["ratio/max_deviation"])
    return {**reduced, "grad/norm": sums["grad/norm"]}


def rollout_statistics(
    accelerator: Any, rollouts: Rollouts, batch: LearningBatch, scores: Tensor, terms: dict[str, Tensor]
) -> dict[str, float]:
    """Metrics of the step's rollouts, over all processes."""
    mask = rollouts.completion_mask
    everywhere = torch.ones_like(scores, dtype=torch.bool)
    columns = {
        "kl/exact": rollouts.exact_kl.sum(1),
        "kl/k1": torch.where(mask, rollouts.old_logps - rollouts.ref_logps, 0.0).sum(1),
        "length/mean": mask.sum(1).float(),
        "length/eos_rate": rollouts.finished.float(),
        **{f"reward/{name}": term for name, term in terms.items()},
    }
    sums = torch.stack([moment_sums(column, everywhere) for column in (scores, *columns.values())])
    sums = sum_over_processes(accelerator, torch.cat([sums, moment_sums(batch.raw_advantages, mask)[None]]))
    means = (sums[:, 1] / sums[:, 0]).tolist()
    deviations = (sums[:, 2] / sums[:, 0] - (sums[:, 1] / sums[:, 0]) ** 2).clamp(min=0).sqrt().tolist()
    sequences = rollouts.sequences
    shares = repeat_shares([s.completion_ids for s in sequences], [s.policy_tokens for s in sequences])
    repeats = sum_over_processes(accelerator, torch.tensor([sum(shares), len(shares)]))
    residuals = sum_over_processes(accelerator, residual_sums(rollouts.values, batch.returns, mask))
    explained = explained_variance(rollouts.values, batch.returns, mask, sums=residuals)
    return {
        "reward/mean": means[0],
        "reward/std": deviations[0],
        **dict(zip(columns, means[1:-1], strict=True)),
        "advantage/mean": means[-1],
        "advantage/std": deviations[-1],
        **mismatch_statistics(accelerator, rollouts),
        "repeat/share": float(repeats[0] / repeats[1].clamp(min=1)),
        "num/tokens": float(sums[-1, 0]),
        "value/explained_variance": explained.item(),
    }


def group_statistics(
    accelerator: Any,
    rollouts: Rollouts,
    advantages: Tensor,
    scores: Tensor,
    terms: dict[str, Tensor],
    num_completions: int,
) -> dict[str, float]:
    """Metrics of the step's rollouts and groups, over all processes; without the value metrics of PPO."""
    batch = LearningBatch(advantages, torch.zeros_like(advantages), advantages, 1.0)
    common = rollout_statistics(accelerator, rollouts, batch, scores, terms)
    grouped = scores.view(-1, num_completions)
    sums = torch.stack(
        [torch.tensor(float(len(grouped))), without_spread(grouped).sum().float(), grouped.std(-1).sum()]
    )
    num_groups, num_equal, deviations = sum_over_processes(accelerator, sums).tolist()
    return {
        **{name: value for name, value in common.items() if not name.startswith("value/")},
        "group/no_spread": num_equal / num_groups,
        "group/std": deviations / num_groups,
    }


def mismatch_statistics(accelerator: Any, rollouts: Rollouts) -> dict[str, float]:
    """Mismatch of sampler and trainer on the step's tokens: largest and mean absolute difference, and the KL.

    d = sampler's log-probability − trainer's, 0 outside the mask. KL(sampler ‖ trainer) is estimated by k3, the mean of
    exp(−d) − 1 + d.
    """
    mask = rollouts.completion_mask
    difference = zero_masked(rollouts.sampler_logps - rollouts.trainer_logps, mask)
    kl = kl_policy_ref_k3(difference.clamp(-20, 20), torch.zeros_like(difference))
    sums = sum_over_processes(accelerator, torch.stack([difference.abs().sum(), kl.sum(), mask.sum()]))
    return {
        "mismatch/logps": max_over_processes(accelerator, difference.abs().max().item()),
        "mismatch/logps_mean": float(sums[0] / sums[2]),
        "mismatch/kl": float(sums[1] / sums[2]),
    }
