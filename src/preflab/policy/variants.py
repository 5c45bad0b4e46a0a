"""The GRPO family as a table: an algorithm is a choice of advantages, ratio, token weights and clip range.

Each variant is one row, composed of functions from `maths/`; the loop in `grpo.py` knows no variant by name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from preflab.maths.advantages import group_relative, leave_one_out
from preflab.maths.kl import kl_policy_ref_k3
from preflab.maths.reductions import (
    Reduction,
    constant_length,
    sequence_mean,
    sequence_sum,
    token_mean,
    weighted_sum,
)
from preflab.maths.sequence_ratio import (
    LogRatio,
    sequence_mean_log_ratio,
    sequence_sum_log_ratio,
    token_log_ratio,
    weighted_sequence_kl,
)
from preflab.models.chunked import TokenStatistics


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    advantages: Callable[[Tensor], Tensor]
    """Rewards (P, K), one row per prompt → advantages (P, K)."""
    log_ratio: LogRatio
    reduction: Reduction
    clip_low: float
    clip_high: float
    source: str

    @property
    def is_of_tokens(self) -> bool:
        """Whether the loss is a sum over tokens; otherwise a ratio needs all tokens of its completion."""
        return self.log_ratio is token_log_ratio


divided_by_std = functools.partial(group_relative, divide_by_std=True)
minus_mean = functools.partial(group_relative, divide_by_std=False)

VARIANTS: dict[str, Variant] = {
    "grpo": Variant(
        divided_by_std, token_log_ratio, sequence_mean, 0.2, 0.2, "Shao et al. 2024 (arXiv 2402.03300); clip of PPO"
    ),
    "dr_grpo": Variant(
        minus_mean, token_log_ratio, constant_length, 0.2, 0.2, "Liu et al. 2025 (arXiv 2503.20783); clip of PPO"
    ),
    "dapo": Variant(divided_by_std, token_log_ratio, token_mean, 0.2, 0.28, "Yu et al. 2025 (arXiv 2503.14476)"),
    "rloo": Variant(
        leave_one_out,
        sequence_sum_log_ratio,
        sequence_sum,
        0.2,
        0.2,
        "Ahmadian et al. 2024 (arXiv 2402.14740), which takes one update; beyond it clip of PPO",
    ),
    "gspo": Variant(
        divided_by_std, sequence_mean_log_ratio, sequence_mean, 3e-4, 4e-4, "Zheng et al. 2025 (arXiv 2507.18071)"
    ),
}
"""Name of the algorithm → its row."""

KlLoss = Callable[[TokenStatistics, Tensor, Tensor, Tensor], Tensor]
"""(the policy's statistics, ref_logps, completion_mask, weights), all (B, T) or all (N,) → loss, 0-d."""


def sequence_kl(output: TokenStatistics, ref_logps: Tensor, completion_mask: Tensor, weights: Tensor) -> Tensor:
    """KL treatment (b): loss on the KL of whole completions; all (B, T)."""
    return weighted_sequence_kl(output.logps, ref_logps, completion_mask, weights)


def exact_kl(output: TokenStatistics, ref_logps: Tensor, completion_mask: Tensor, weights: Tensor) -> Tensor:
    """KL treatment (c): the part that is a loss; the other part is in the advantages."""
    return weighted_sum(output.kl, completion_mask, weights)


def token_k3(output: TokenStatistics, ref_logps: Tensor, completion_mask: Tensor, weights: Tensor) -> Tensor:
    """k3 of each token, as in the GRPO paper; its gradient is that of KL(reference ‖ policy) at each position."""
    return weighted_sum(kl_policy_ref_k3(output.logps, ref_logps), completion_mask, weights)


KL_LOSSES: dict[str, KlLoss] = {"sequence_loss": sequence_kl, "exact": exact_kl, "token_k3": token_k3}
"""KL treatment → its loss. `reward_k1` has no loss; its KL is part of the reward."""

KL_OF_COMPLETIONS = frozenset({"sequence_loss"})
"""The KL losses that are no sum over tokens."""
