"""Computes advantages and returns from rewards and values, and whitens them."""

from __future__ import annotations

import torch
from torch import Tensor

from preflab.maths.masks import check_same_shape, zero_masked

VARIANCE_FLOOR = 1e-8
STD_FLOOR = 1e-4
NO_SPREAD = 1e-6


def scores_at_last_token(scores: Tensor, completion_mask: Tensor) -> Tensor:
    """Rewards that are `scores[b]` at the last token the policy wrote and 0 elsewhere.

    scores (B,), completion_mask (B, T) → (B, T). A row without tokens is all 0.
    """
    check_same_shape(scores=scores, rows=completion_mask[:, 0])
    num_from_here = completion_mask.flip(-1).cumsum(-1).flip(-1)
    is_last = completion_mask & (num_from_here == 1)
    return torch.where(is_last, scores.unsqueeze(-1), torch.zeros_like(scores).unsqueeze(-1))


def gae(
    rewards: Tensor,
    values: Tensor,
    completion_mask: Tensor,
    *,
    gamma: float,
    lam: float,
    bootstrap_values: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation, backwards over the tokens the policy wrote.

    delta_t = rewards_t + gamma · values_{t+1} − values_t
    advantages_t = delta_t + gamma · lam · advantages_{t+1}
    returns_t = advantages_t + values_t

    Here t + 1 is the *next token of the policy*: tokens inside a completion that the policy did not write (turns, tool
    results) are skipped, and the sums are carried across them; their rewards and values are not read. After the last
    token the value is 0, even if the length limit cut the completion, because a scored completion is finished.
    `bootstrap_values` (B,) replaces that 0 for truncated completions that were *not* scored (0 for the others).

    All (B, T); both results are without gradient and 0 at masked positions. Source: Schulman et al. 2016 eq. 16.
    """
    check_same_shape(rewards=rewards, values=values, completion_mask=completion_mask)
    rewards = zero_masked(rewards, completion_mask).detach()
    values = zero_masked(values, completion_mask).detach()
    next_advantage = torch.zeros_like(values[:, 0])
    next_value = next_advantage if bootstrap_values is None else bootstrap_values.detach().to(values.dtype)
    check_same_shape(bootstrap_values=next_value, rows=next_advantage)
    columns: list[Tensor] = []
    for t in reversed(range(values.shape[1])):
        written = completion_mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = torch.where(written, delta + gamma * lam * next_advantage, next_advantage)
        next_value = torch.where(written, values[:, t], next_value)
        columns.append(next_advantage)
    advantages = zero_masked(torch.stack(columns[::-1], dim=1), completion_mask)
    return advantages, advantages + values


def moment_sums(x: Tensor, mask: Tensor) -> Tensor:
    """[count, Σ x, Σ x²] over the positions where the mask is True, in float64.

    (3,). Add the results of micro-batches and processes (all-reduce with SUM) and pass them to `whiten(..., sums=)`.
    """
    kept = zero_masked(x, mask).detach().double()
    return torch.stack([mask.sum().double(), kept.sum(), kept.square().sum()])


def mean_of_sums(sums: Tensor) -> Tensor:
    """Mean Σ x / count from `moment_sums`; (..., 3) → (...), 0 if the count is 0."""
    return sums[..., 1] / sums[..., 0].clamp(min=1)


def variance_of_sums(sums: Tensor) -> Tensor:
    """Population variance Σ x² / count − (Σ x / count)² from `moment_sums`; (..., 3) → (...), 0 if it is empty."""
    count = sums[..., 0].clamp(min=1)
    return (sums[..., 2] / count - mean_of_sums(sums).square()).clamp(min=0)


def whitening_scale(sums: Tensor) -> Tensor:
    """1 / √(variance + 1e-8): the factor that `whiten` and `scale_to_unit_variance` apply.

    Multiply any loss added to a whitened term by it. `sums` (..., 3) from `moment_sums` → (...).
    """
    return torch.rsqrt(variance_of_sums(sums) + VARIANCE_FLOOR)


def scale_to_unit_variance(x: Tensor, mask: Tensor, *, sums: Tensor | None = None) -> Tensor:
    """x / √(variance + 1e-8) over the valid tokens of the whole batch, without subtracting the mean.

    The factor is the same for every token, so the rewards of a completion of any length sum to its score times the
    factor. `sums` as in `whiten`. Same shape, 0 at masked positions.
    """
    sums = moment_sums(x, mask) if sums is None else sums
    return zero_masked(x * whitening_scale(sums).to(x.dtype), mask)


def whiten(x: Tensor, mask: Tensor, *, shift_mean: bool = True, sums: Tensor | None = None) -> Tensor:
    """(x − mean) / √(variance + 1e-8) over the valid tokens of the whole batch; without shift_mean, + mean again.

    The variance is the population variance. If x is only a part of the batch, pass the `moment_sums` of the whole batch
    as `sums`; None uses those of x. Same shape, 0 at masked positions. For advantages shift_mean is True. With
    shift_mean False it is the published whitening of rewards, which moves every token's reward by
    mean · (1 − 1 / √variance). The sum over a completion then depends on its length; `scale_to_unit_variance` avoids
    this. Source: Ziegler et al. 2019,
    code; Huang et al. 2024.
    """
    sums = moment_sums(x, mask) if sums is None else sums
    mean = mean_of_sums(sums).to(x.dtype)
    whitened = (x - mean) * whitening_scale(sums).to(x.dtype)
    return zero_masked(whitened if shift_mean else whitened + mean, mask)


def group_relative(rewards: Tensor, *, divide_by_std: bool, std_floor: float = STD_FLOOR) -> Tensor:
    """Each completion's reward minus the mean of its group, in standard deviations of the group if divide_by_std.

    advantages_k = rewards_k − mean(rewards), divided by std(rewards) + std_floor if divide_by_std

    (P, K), a row per prompt → (P, K), without gradient. The standard deviation is the sample's (over K − 1), as in the
    usual code; a group of equal rewards has advantages 0. The mean includes the completion itself, so without
    division the expected policy gradient is (K − 1)/K of the true one. Source: with division Shao et al. 2024 (GRPO);
    without Liu et al. 2025 (Dr. GRPO).

    Raises ValueError unless groups have at least two completions.
    """
    _check_groups(rewards)
    advantages = (rewards - rewards.mean(-1, keepdim=True)).detach()
    if divide_by_std:
        variance = advantages.square().sum(-1, keepdim=True) / (rewards.shape[-1] - 1)
        advantages = advantages / (variance.sqrt() + std_floor)
    return advantages.masked_fill(without_spread(rewards).unsqueeze(-1), 0.0)


def leave_one_out(rewards: Tensor) -> Tensor:
    """Each completion's reward minus the mean of the *other* completions of its group.

    advantages_k = rewards_k − Σ_{j ≠ k} rewards_j / (K − 1)

    (P, K), a row per prompt → (P, K), without gradient. The baseline does not depend on the completion it is
    subtracted from, so the policy gradient is unbiased. Source: Kool et al. 2019; Ahmadian et al. 2024 (RLOO).

    Raises ValueError unless groups have at least two completions.
    """
    _check_groups(rewards)
    num = rewards.shape[-1]
    return (rewards - (rewards.sum(-1, keepdim=True) - rewards) / (num - 1)).detach()


def without_spread(rewards: Tensor) -> Tensor:
    """True for groups whose rewards are equal up to rounding (1e-6 · max(largest absolute reward, 1)).

    (P, K) → (P,) bool. Such groups carry no information about the reward.
    """
    spread = rewards.amax(-1) - rewards.amin(-1)
    return spread <= NO_SPREAD * rewards.abs().amax(-1).clamp(min=1)


def _check_groups(rewards: Tensor) -> None:
    if rewards.ndim != 2 or rewards.shape[-1] < 2:
        raise ValueError(f"rewards have shape {tuple(rewards.shape)}; expected (prompts, at least 2 completions)")
