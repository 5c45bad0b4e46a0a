"""Truncated importance weights: what a sampler that rounds differently does to the expected gradient, and its cure.

Tokens come from the sampler's distribution, the policy gradient assumes the trainer's. The weight

    w = min(π_trainer / π_sampler, cap)        per token, before any update, without gradient

multiplies each token's policy loss. Without the cap the expected gradient of one token would be exact; the cap bounds
its variance. Source: Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"
(truncated importance sampling); Espeholt et al. 2018 (IMPALA), section 4.1 for the truncation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from preflab.maths.losses import MAX_LOG_RATIO
from preflab.maths.masks import zero_masked
from preflab.training.processes import sum_over_processes
from preflab.training.rollouts import Rollouts


def importance_weights(rollouts: Rollouts, cap: float) -> Tensor:
    """(B, T) min(π_old / π_sampler, cap) per token, 0 outside the mask; all 1 if π_old is the sampler's own."""
    log_ratio = (rollouts.old_logps - rollouts.sampler_logps).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return zero_masked(log_ratio.exp().clamp(max=cap), rollouts.completion_mask)


def weighted(advantages: Tensor, rollouts: Rollouts, cap: float | None) -> Tensor:
    """(B, T) advantages times importance weights; unchanged if `cap` is None.

    A weight is positive, so a weighted advantage gives the weighted loss, clipped or not.
    """
    return advantages if cap is None else advantages * importance_weights(rollouts, cap)


def importance_statistics(accelerator: Any, rollouts: Rollouts, cap: float | None) -> dict[str, float]:
    """Mean weight and number of tokens whose weight was cut, over all processes; {} if `cap` is None."""
    if cap is None:
        return {}
    mask = rollouts.completion_mask
    over = (rollouts.old_logps - rollouts.sampler_logps > torch.tensor(cap).log()) & mask
    sums = torch.stack([importance_weights(rollouts, cap).sum(), over.sum().float(), mask.sum().float()])
    total, num_cut, num_tokens = sum_over_processes(accelerator, sums).tolist()
    return {"importance/mean": total / num_tokens, "importance/num_cut": num_cut}
