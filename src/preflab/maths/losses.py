"""Losses of training: PPO's clipped losses, negative log-likelihood.

Every loss is a sum over tokens divided by `denominator`, the number of tokens of the whole optimiser step; None uses
the number of tokens given here. The statistics are divided in the same way, so that those of micro-batches add up too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from preflab.maths.advantages import moment_sums, variance_of_sums
from preflab.maths.masks import check_same_shape, masked_mean, zero_masked

MAX_LOG_RATIO = 20.0


class PolicyLoss(NamedTuple):
    """The result of `clipped_policy_loss`; all 0-d, all but `loss` without gradient."""

    loss: Tensor
    clip_fraction: Tensor
    """Share of tokens at which the clipped side is larger; they have no gradient."""
    approx_kl: Tensor
    """KL(old policy ‖ policy) per token, estimated by k3, in nats."""
    max_ratio_deviation: Tensor
    """Largest |ratio − 1| among these tokens; micro-batches combine by maximum, not by sum."""


class ValueLoss(NamedTuple):
    """The result of `clipped_value_loss`; both 0-d, `clip_fraction` without gradient."""

    loss: Tensor
    clip_fraction: Tensor
    """Share of tokens at which the clipped side is larger."""


def clipped_policy_loss(
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    denominator: float | Tensor | None = None,
) -> PolicyLoss:
    """PPO's clipped surrogate, negated so that it is minimised.

    ratio = exp(clamp(logps − old_logps, −20, 20))
    loss = Σ max(−ratio · advantages, −clip(ratio, 1 − clip_low, 1 + clip_high) · advantages) / denominator

    All (B, T). old_logps are those of the policy that wrote the rollouts, not of the reference; they and the advantages
    carry no gradient. Clipping removes the incentive to move further; it does not bound the move. Source: Schulman
    et al. 2017 eq. 7; two clip sides: Yu et al. 2025 (DAPO), "Clip-Higher".
    """
    check_same_shape(logps=logps, old_logps=old_logps, advantages=advantages, completion_mask=completion_mask)
    advantages = zero_masked(advantages, completion_mask).detach()
    log_ratio = zero_masked(logps - old_logps.detach(), completion_mask).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    ratio = log_ratio.exp()
    unclipped = -ratio * advantages
    clipped = -ratio.clamp(1 - clip_low, 1 + clip_high) * advantages
    with torch.no_grad():
        clip_fraction = masked_mean((clipped > unclipped).to(ratio.dtype), completion_mask, denominator)
        approx_kl = masked_mean(torch.expm1(log_ratio) - log_ratio, completion_mask, denominator)
        max_ratio_deviation = (ratio - 1).abs().max()
    loss = masked_mean(torch.maximum(unclipped, clipped), completion_mask, denominator)
    return PolicyLoss(loss, clip_fraction, approx_kl, max_ratio_deviation)


def clipped_value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    completion_mask: Tensor,
    *,
    clip: float | None,
    denominator: float | Tensor | None = None,
) -> ValueLoss:
    """Half the squared error of the values: the larger of the plain error and the one clipped around the old values.

    clipped = old_values + clamp(values − old_values, −clip, clip)
    loss = ½ Σ max((values − returns)², (clipped − returns)²) / denominator

    All (B, T); old_values and returns carry no gradient. clip=None turns clipping off. Source: the code of Schulman et
    al. 2017 (OpenAI baselines, ppo2); Huang et al. 2022, detail 9.
    """
    check_same_shape(values=values, old_values=old_values, returns=returns, completion_mask=completion_mask)
    old_values = zero_masked(old_values, completion_mask).detach()
    returns = zero_masked(returns, completion_mask).detach()
    values = zero_masked(values, completion_mask)
    errors = (values - returns).square()
    clipped_errors = errors
    if clip is not None:
        clipped_errors = (old_values + (values - old_values).clamp(-clip, clip) - returns).square()
    with torch.no_grad():
        clip_fraction = masked_mean((clipped_errors > errors).to(errors.dtype), completion_mask, denominator)
    loss = 0.5 * masked_mean(torch.maximum(errors, clipped_errors), completion_mask, denominator)
    return ValueLoss(loss, clip_fraction)


def nll_loss(logps: Tensor, completion_mask: Tensor, denominator: float | Tensor | None = None) -> Tensor:
    """−Σ logps / denominator: supervised fine-tuning on completion tokens. (B, T) → 0-d, nats per token."""
    return -masked_mean(logps, completion_mask, denominator)


def residual_sums(values: Tensor, returns: Tensor, completion_mask: Tensor) -> Tensor:
    """`moment_sums` of returns − values and of returns: (2, 3). Those of several parts of a batch add up."""
    check_same_shape(values=values, returns=returns, completion_mask=completion_mask)
    return torch.stack([moment_sums(returns - values, completion_mask), moment_sums(returns, completion_mask)])


def explained_variance(
    values: Tensor, returns: Tensor, completion_mask: Tensor, *, sums: Tensor | None = None
) -> Tensor:
    """1 − Var(returns − values) / Var(returns) over the tokens of the whole batch.

    (B, T) → 0-d, without gradient: 1 if the values are exact, 0 if they are no better than a constant, below 0
    if they are worse. It is 0 if all returns are equal, since there is no variance to explain. Parts of a batch cannot
    be averaged; add their `residual_sums` and pass them as `sums`.
    """
    sums = residual_sums(values, returns, completion_mask) if sums is None else sums
    residual, total = variance_of_sums(sums).unbind()
    mean_square = sums[1, 2] / sums[1, 0].clamp(min=1)
    return torch.where(total > 1e-12 * mean_square, 1 - residual / total, torch.zeros_like(total))
