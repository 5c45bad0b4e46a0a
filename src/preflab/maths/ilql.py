"""The mathematics of implicit language Q-learning (Snell et al. 2022; Kostrikov et al. 2021): Q, V, and the policy.

A state is a prompt with the tokens so far, an action is the next token, and the transition is certain: the token is
appended. Q and V are learned from completions that are already written. B sequences, T completion tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from preflab.maths.masks import check_same_shape, masked_mean, next_kept, zero_masked


def q_targets(rewards: Tensor, values: Tensor, completion_mask: Tensor, *, gamma: float) -> Tensor:
    """The numbers on which Q of each token is regressed: its reward, and the value of the state after it.

    targets_t = rewards_t + gamma · values_{t+1}

    Here t + 1 is the next token of the policy, as in `advantages.gae`. After the last token the value is 0, even if the
    length limit cut the completion, because a scored completion is finished. All (B, T); without gradient and 0 at
    masked positions. Source: Snell et al. 2022, section 4.2.
    """
    check_same_shape(rewards=rewards, values=values, completion_mask=completion_mask)
    return zero_masked(rewards + gamma * next_kept(values, completion_mask), completion_mask).detach()


def q_loss(
    action_values: Tensor, targets: Tensor, completion_mask: Tensor, denominator: float | Tensor | None = None
) -> Tensor:
    """Σ (action_values − targets)² / denominator over the tokens of the completions; 0-d.

    (B, T); targets from `q_targets`, without gradient. Source: Kostrikov et al. 2021 eq. 6.
    """
    check_same_shape(action_values=action_values, targets=targets, completion_mask=completion_mask)
    errors = zero_masked(action_values - targets.detach(), completion_mask)
    return masked_mean(errors.square(), completion_mask, denominator)


def expectile_loss(
    values: Tensor,
    action_values: Tensor,
    completion_mask: Tensor,
    *,
    tau: float,
    denominator: float | Tensor | None = None,
) -> Tensor:
    """Squared error of V against Q of the tokens in the data, with weight tau where Q is above V and 1 − tau below.

    loss = Σ |tau − 1[action_values < values]| · (action_values − values)² / denominator

    All (B, T); action_values carry no gradient. The minimiser is the tau-expectile of Q over the tokens that the data
    hold in a state: the mean at tau = ½, towards the largest Q as tau → 1. Source: Kostrikov et al. 2021 eq. 5.
    """
    check_same_shape(values=values, action_values=action_values, completion_mask=completion_mask)
    errors = zero_masked(action_values.detach() - values, completion_mask)
    weights = torch.where(errors < 0, 1 - tau, tau)
    return masked_mean(weights * errors.square(), completion_mask, denominator)


def reweighted_logps(ref_logps: Tensor, action_values: Tensor, values: Tensor, *, beta: float) -> Tensor:
    """log π of every token, with π ∝ π_ref · exp(beta · (Q − V)).

    ref_logps, action_values (..., V), values (...) → (..., V); the exponentials sum to 1. V is the same for every
    token of a state, so it cancels. Source: Snell et al. 2022 eq. 4.
    """
    return (ref_logps + beta * (action_values - values.unsqueeze(-1))).log_softmax(-1)
