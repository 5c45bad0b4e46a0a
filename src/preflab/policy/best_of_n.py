"""Best-of-n sampling: keep the completion with the highest reward among n. It needs no training and is hard to beat.

The steps are `collect → score → keep`. The stage samples and scores; this module chooses the completions to keep and
estimates their expected reward for every n up to the number sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from preflab.maths.best_of_n import best_of_n_kl_bound, expected_best_of


@dataclass(frozen=True)
class Worth:
    """Expected reward of the best of n completions, estimated over prompts."""

    n: int
    kl_bound: float
    """Upper bound on the KL to the model that sampled the completions, nats per completion."""
    reward: float
    """Mean over prompts of the unbiased estimate of the chosen completion's reward (or other value, where given)."""
    error: float | None
    """Standard error of `reward` over prompts; None for a single prompt, which shows no spread."""


def keep_best(rewards: Sequence[float]) -> int:
    """Index of the completion to keep: the first one with the highest reward."""
    return max(range(len(rewards)), key=lambda k: (rewards[k], -k))


def worth_for_every_n(rewards: Tensor, values: Tensor | None = None) -> list[Worth]:
    """Estimates for n = 1 … N, all from the same N completions of each prompt.

    rewards (P, N) choose the completion; values (P, N) are averaged (None: the rewards themselves). Pass the values of
    a held-out judge to see from which n on the choice only exploits the reward.
    """
    estimates = expected_best_of(rewards, values)
    num_prompts = len(estimates)
    errors = (estimates.std(0) / num_prompts**0.5).tolist() if num_prompts > 1 else [None] * estimates.shape[1]
    return [
        Worth(n, best_of_n_kl_bound(n), mean, error)
        for n, (mean, error) in enumerate(zip(estimates.mean(0).tolist(), errors, strict=True), 1)
    ]
