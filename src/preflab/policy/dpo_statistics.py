"""Metrics of a DPO step, computed from sums that add up over micro-batches and processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from preflab.maths.advantages import moment_sums
from preflab.maths.masks import masked_sum
from preflab.models.trunk import Trunk
from preflab.policy.dpo_losses import ImplicitReward, Learned
from preflab.training.batches import TokenSequence, token_budget_batches
from preflab.training.processes import sum_over_processes
from preflab.training.protocols import SampledCompletion

Sums = dict[str, float]


@torch.no_grad()
def statistics(inputs: Learned, reward: ImplicitReward) -> dict[str, Tensor]:
    """Sums, 0-d, over pairs and verdicts; a label or verdict of exactly ½ has no direction and is left out.

    A pair is right if the implicit reward orders it like the label; a verdict is right if the log-ratio is on its side
    of z₀. Equality counts half.
    """
    pairs, verdicts = inputs.pairs, inputs.verdicts
    sign, lean = (2 * pairs.labels - 1).sign(), (2 * verdicts.up - 1).sign()
    margins = sign * (reward(pairs.chosen) - reward(pairs.rejected))
    gains = lean * (verdicts.completions.log_ratios - inputs.kl)
    first, second, alone = pairs.chosen.log_ratios, pairs.rejected.log_ratios, verdicts.completions.log_ratios
    num_good, num_bad = (lean > 0).sum(), (lean < 0).sum()
    num_pairs = (sign != 0).sum()
    return {
        "right": _right(margins, sign) + _right(gains, lean),
        "num": num_pairs + num_good + num_bad,
        "margin": margins.sum(),
        "num_pairs": num_pairs,
        "chosen": masked_sum(torch.where(sign > 0, first, second), sign != 0) + masked_sum(alone, lean > 0),
        "num_chosen": num_pairs + num_good,
        "rejected": masked_sum(torch.where(sign > 0, second, first), sign != 0) + masked_sum(alone, lean < 0),
        "num_rejected": num_pairs + num_bad,
    }


def added(sums: Sums, more: Sums) -> Sums:
    """Add the sums of two parts of a step, name by name."""
    return {name: sums.get(name, 0.0) + value for name, value in more.items()}


def reduced(accelerator: Any, sums: Sums) -> Sums:
    """The sums over all processes."""
    total = sum_over_processes(accelerator, torch.tensor(list(sums.values()), dtype=torch.float64))
    return dict(zip(sums, total.tolist(), strict=True))


def figures(sums: Sums) -> dict[str, float]:
    """Accuracy, margin and log-ratios of a step; a metric without pairs or verdicts of its kind is omitted."""
    means = {
        "accuracy/implicit": ("right", "num"),
        "implicit/margin": ("margin", "num_pairs"),
        "logratio/chosen": ("chosen", "num_chosen"),
        "logratio/rejected": ("rejected", "num_rejected"),
    }
    return {name: sums[value] / sums[num] for name, (value, num) in means.items() if sums[num]}


def sample_statistics(
    trunk: Trunk,
    sequences: Sequence[TokenSequence],
    sampled: Sequence[SampledCompletion],
    tokens_per_batch: int,
    temperature: float,
    accelerator: Any,
) -> dict[str, float]:
    """Means over all processes: exact and sampled KL to the reference, entropy, length, share of ended completions."""
    columns = torch.zeros(5, len(sequences))
    for part in token_budget_batches([len(s) for s in sequences], tokens_per_batch):
        batch = trunk.collate([sequences[i] for i in part])
        with torch.no_grad():
            outputs = trunk(batch, ("policy", "reference"), temperature=temperature, entropy=True, exact_kl=True)
        policy, num = outputs["policy"], batch.completion_mask.sum(1)
        columns[0, part] = policy.kl.sum(1).float().cpu()
        columns[1, part] = (policy.logps - outputs["reference"].logps).sum(1).float().cpu()
        columns[2, part] = (policy.entropy.sum(1) / num).float().cpu()
        columns[3, part] = num.float().cpu()
    columns[4] = torch.tensor([float(one.finish_reason == "stop") for one in sampled])
    everywhere = torch.ones(len(sequences), dtype=torch.bool)
    sums = sum_over_processes(accelerator, torch.stack([moment_sums(column, everywhere) for column in columns]))
    names = ("kl/exact", "kl/k1", "entropy/mean", "length/mean", "length/eos_rate")
    return dict(zip(names, (sums[:, 1] / sums[:, 0]).tolist(), strict=True))


def _right(gains: Tensor, sign: Tensor) -> Tensor:
    return masked_sum((gains.sign() + 1) / 2, sign != 0)
