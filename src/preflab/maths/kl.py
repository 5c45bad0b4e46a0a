"""KL(policy ‖ reference) of completions: estimators, treatments as a penalty, and controllers of kl_coef.

All estimators are per token, in nats, for tokens that the *policy* sampled. A correct estimate of the value does not
imply the correct gradient. For the completion's KL as the penalty, three treatments have the correct gradient:

(a) `kl_rewards_k1`: k1 per token in the reward;
(b) `sequence_kl_loss`: ½ (Σ_t log-ratio)² of a completion as a loss, on completions of the current policy;
(c) `kl_rewards_exact_later` together with `exact_kl_loss`: the exact KL of the later positions in the reward, and of
    the current position as a loss.

The exact, k2 or k3 KL of each token as a loss is an approximation: it ignores the effect of a token on the KL of later
tokens. The gradient of k1 as a loss has expectation 0. Exact, k2 or k3 in the reward alone is wrong.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from preflab.maths.masks import masked_mean, next_kept, zero_masked

MAX_PROPORTIONAL_ERROR = 0.2


def kl_policy_ref_k1(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """k1 = logps − ref_logps, whose expectation under the policy is KL(policy ‖ reference); can be negative.

    (B, T) → (B, T), nats. Its gradient as a loss has expectation 0: use it in the reward. Source: Schulman 2020,
    "Approximating KL divergence".
    """
    return logps - ref_logps


def kl_policy_ref_k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """k3 = exp(ref_logps − logps) − 1 − (ref_logps − logps), never negative, expectation KL(policy ‖ reference).

    (B, T) → (B, T), nats. Correct as a value to log; its gradient is that of KL(reference ‖ policy). Source: Schulman
    2020.
    """
    log_ratio = ref_logps - logps
    return torch.expm1(log_ratio) - log_ratio


def kl_rewards_k1(logps: Tensor, ref_logps: Tensor, completion_mask: Tensor, kl_coef: float | Tensor) -> Tensor:
    """Treatment (a): the reward −kl_coef · (logps − ref_logps) of each token, without gradient.

    logps are those of the policy that sampled. (B, T) → (B, T), 0 at masked positions. The reward-to-go then includes
    the log-ratio of all later tokens, and the policy gradient is that of E[reward] − kl_coef · KL. Source: Ziegler et
    al. 2019 eq. 2.
    """
    return -kl_coef * zero_masked(kl_policy_ref_k1(logps, ref_logps), completion_mask).detach()


def sequence_kl_loss(
    logps: Tensor, ref_logps: Tensor, completion_mask: Tensor, denominator: float | Tensor | None = None
) -> Tensor:
    """Treatment (b): Σ_b ½ (Σ_t (logps − ref_logps))² / denominator.

    The expectation of its gradient, Σ_b log-ratio_b · ∇ log π(completion_b), is that of KL(policy ‖ reference) if the
    completions were sampled by the policy that is differentiated. The value is not the KL.

    (B, T) → 0-d. `denominator` counts sequences (default: those here with at least one token). If the policy loss is
    divided by a number of tokens, pass the same number here, or kl_coef has another unit.
    """
    log_ratio = zero_masked(kl_policy_ref_k1(logps, ref_logps), completion_mask).sum(-1)
    return masked_mean(0.5 * log_ratio.square(), completion_mask.any(-1), denominator)


def kl_rewards_exact_later(exact_kl: Tensor, completion_mask: Tensor, kl_coef: float | Tensor) -> Tensor:
    """Treatment (c), first half: token t gets −kl_coef · exact_kl of the *next* token's position, without gradient.

    With gamma = 1 the reward-to-go of token t then includes the KL of all later positions, which depend on token t. The
    KL of its own position is the same for every token that could be drawn; `exact_kl_loss` handles it.
    (B, T) → (B, T), 0 at masked positions and at the last token.
    """
    return -kl_coef * zero_masked(next_kept(exact_kl.detach(), completion_mask), completion_mask)


def exact_kl_loss(exact_kl: Tensor, completion_mask: Tensor, denominator: float | Tensor | None = None) -> Tensor:
    """Treatment (c), second half: Σ exact_kl / denominator with its gradient; multiply it by kl_coef.

    exact_kl (B, T) is Σ_v p_v (log p_v − log q_v) over the vocabulary at each position, p of the policy and q of the
    reference → 0-d. `denominator` counts tokens (default: those here) and must be that
    of the policy loss. Without `kl_rewards_exact_later` this is an approximation.
    """
    return masked_mean(exact_kl, completion_mask, denominator)


class FixedKLController:
    """A constant kl_coef with the interface of `AdaptiveKLController`."""

    def __init__(self, kl_coef: float) -> None:
        self.kl_coef = kl_coef

    def update(self, kl: float, num_sequences: int) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, float]:
        return {"kl_coef": self.kl_coef}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.kl_coef = state["kl_coef"]


class AdaptiveKLController:
    """A kl_coef that grows while the KL is above the target and shrinks while it is below.

    error = clip(kl / target − 1, −0.2, 0.2);  kl_coef ← kl_coef · (1 + error · num_sequences / horizon)

    `target` and `kl` are nats per completion (summed over its tokens, averaged over completions); `horizon` is a
    number of completions: the largest error over `horizon` completions changes kl_coef by about a fifth. Source:
    Ziegler et al. 2019, section 2.2.
    """

    def __init__(self, kl_coef: float, target: float, horizon: float) -> None:
        if target <= 0 or horizon <= 0:
            raise ValueError(f"target is {target} and horizon is {horizon}; expected both above 0")
        self.kl_coef = kl_coef
        self.target = target
        self.horizon = horizon

    def update(self, kl: float, num_sequences: int) -> None:
        """Update kl_coef after a step with `num_sequences` completions of mean KL `kl`.

        Raises ValueError if kl is not finite, since every later kl_coef would be NaN.
        """
        if not math.isfinite(kl):
            raise ValueError(f"kl is {kl}; expected a finite number of nats per completion")
        error = max(-MAX_PROPORTIONAL_ERROR, min(MAX_PROPORTIONAL_ERROR, kl / self.target - 1))
        self.kl_coef *= 1 + error * num_sequences / self.horizon

    def state_dict(self) -> dict[str, float]:
        """The state of a resumed run: kl_coef. Target and horizon are settings."""
        return {"kl_coef": self.kl_coef}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.kl_coef = state["kl_coef"]
