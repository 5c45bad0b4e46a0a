"""Log-ratios of tokens or of whole completions, and the clipped loss with any of them.

All functions return (B, T) log-ratios. A ratio of the whole completion has the same *value* at all of its tokens, but
its *gradient* goes through each token's own log-probability, so that tokens may have different advantages.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from preflab.maths.kl import kl_policy_ref_k1
from preflab.maths.losses import MAX_LOG_RATIO, PolicyLoss
from preflab.maths.masks import check_same_shape, masked_mean, zero_masked
from preflab.maths.reductions import weighted_sum

LogRatio = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logps, old_logps, completion_mask), all (B, T) → log-ratios (B, T), 0 at masked places."""


def token_log_ratio(logps: Tensor, old_logps: Tensor, completion_mask: Tensor) -> Tensor:
    """logps − old_logps of each token. (B, T) → (B, T). Source: Schulman et al. 2017; Shao et al. 2024."""
    return zero_masked(logps - old_logps.detach(), completion_mask)


def sequence_mean_log_ratio(logps: Tensor, old_logps: Tensor, completion_mask: Tensor) -> Tensor:
    """Σ_t (logps − old_logps) / length at every token of the completion; the gradient is that of the token's logp.

    (B, T) → (B, T). With `sequence_mean` weights and one advantage per completion this is GSPO: its ratio
    (π(y)/π_old(y))^(1/length) is clipped for the completion as a whole. Source: Zheng et al. 2025 (GSPO); with
    different advantages per token it is their variant GSPO-token.
    """
    log_ratio = token_log_ratio(logps, old_logps, completion_mask)
    lengths = completion_mask.sum(-1, keepdim=True).clamp(min=1)
    return _value_of(log_ratio.sum(-1, keepdim=True) / lengths, log_ratio, completion_mask)


def sequence_sum_log_ratio(logps: Tensor, old_logps: Tensor, completion_mask: Tensor) -> Tensor:
    """Σ_t (logps − old_logps) at every token of the completion; the gradient is that of the token's logp.

    (B, T) → (B, T). The log of the true importance ratio π(y)/π_old(y) of the completion, which RLOO needs if a batch
    is used for more than one update.
    """
    log_ratio = token_log_ratio(logps, old_logps, completion_mask)
    return _value_of(log_ratio.sum(-1, keepdim=True), log_ratio, completion_mask)


def clipped_ratio_loss(
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    weights: Tensor,
    *,
    log_ratio: LogRatio,
    clip_low: float,
    clip_high: float,
    num_tokens: float | Tensor,
) -> PolicyLoss:
    """PPO's clipped surrogate with a given kind of ratio and token weights, negated so that it is minimised.

    ratio = exp(clamp(log_ratio, −20, 20))
    loss = Σ weights · max(−ratio · advantages, −clip(ratio, 1 − clip_low, 1 + clip_high) · advantages)

    All (B, T); old_logps, advantages and weights carry no gradient. The statistics are averaged over tokens;
    `num_tokens` is the count of the whole optimiser step. With `token_log_ratio` and constant weights it is
    `clipped_policy_loss`. Source: Schulman et al. 2017 eq. 7; two clip sides: Yu et al. 2025 (DAPO), "Clip-Higher".
    """
    check_same_shape(
        logps=logps, old_logps=old_logps, advantages=advantages, completion_mask=completion_mask, weights=weights
    )
    advantages = zero_masked(advantages, completion_mask).detach()
    ratio = log_ratio(logps, old_logps, completion_mask).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    unclipped = -ratio * advantages
    clipped = -ratio.clamp(1 - clip_low, 1 + clip_high) * advantages
    with torch.no_grad():
        per_token = token_log_ratio(logps, old_logps, completion_mask).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        clip_fraction = masked_mean((clipped > unclipped).to(ratio.dtype), completion_mask, num_tokens)
        approx_kl = masked_mean(torch.expm1(per_token) - per_token, completion_mask, num_tokens)
        max_ratio_deviation = (ratio - 1).abs().max()
    loss = weighted_sum(torch.maximum(unclipped, clipped), completion_mask, weights)
    return PolicyLoss(loss, clip_fraction, approx_kl, max_ratio_deviation)


def weighted_sequence_kl(logps: Tensor, ref_logps: Tensor, completion_mask: Tensor, weights: Tensor) -> Tensor:
    """Treatment (b) with token weights: Σ_b weight_b · ½ (Σ_t (logps − ref_logps))², weight_b that of b's tokens.

    All (B, T) → 0-d. Added to a policy loss with the same weights, it has the gradient of the KL of completions of the
    current policy; see `kl.sequence_kl_loss`. A completion without tokens adds 0.
    """
    log_ratio = zero_masked(kl_policy_ref_k1(logps, ref_logps), completion_mask).sum(-1)
    return (0.5 * log_ratio.square() * weights.amax(-1)).sum()


def _value_of(value: Tensor, gradient: Tensor, completion_mask: Tensor) -> Tensor:
    """The value of one tensor with the gradient of the other, 0 at masked places."""
    return zero_masked(gradient + (value - gradient).detach(), completion_mask)
