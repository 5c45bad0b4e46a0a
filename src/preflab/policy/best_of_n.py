"""Best-of-n: of n completions the one with the highest reward; no training, and hard to beat.

It reads `collect → score → keep`: the stage samples and scores, this file says which are kept and what they are worth
for every smaller n as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from preflab.maths.best_of_n import best_of_n_kl_bound, expected_best_of


@dataclass(frozen=True)
class Worth:
    """What the best of n completions is worth by the reward that chose it, over prompts."""

    n: int
    kl_bound: float
    """At most this far from the model that wrote them, nats per completion."""
    reward: float
    """Mean over prompts of the unbiased estimate of the expected highest reward."""
    error: float | None
    """Its standard error over prompts; None for one prompt, from which no spread can be told."""


def keep_best(rewards: Sequence[float]) -> int:
    """Which completion of a prompt is kept: the first of those with the highest reward."""
    return max(range(len(rewards)), key=lambda k: (rewards[k], -k))


def worth_for_every_n(rewards: Tensor, values: Tensor | None = None) -> list[Worth]:
    """What the best of n is worth for n = 1 … N, estimated from the same N completions of each prompt.

    rewards (P, N) choose; values (P, N) are what is counted, the rewards themselves where None: a held-out judge's
    values show from which n on the choice only exploits the reward.
    """
    estimates = expected_best_of(rewards, values)
    num_prompts = len(estimates)
    errors = (estimates.std(0) / num_prompts**0.5).tolist() if num_prompts > 1 else [None] * estimates.shape[1]
    return [
        Worth(n, best_of_n_kl_bound(n), mean, error)
        for n, (mean, error) in enumerate(zip(estimates.mean(0).tolist(), errors, strict=True), 1)
    ]
