"""Token weights of a loss, one function for each way of averaging in the GRPO family.

Every reduction returns the weight of each token, so that a loss is Σ weights · terms. The counts are those of the whole
optimiser step over all micro-batches and processes, so that parts add up to the whole. Reductions apply no mask: masked
positions get a weight too, and the losses leave them out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.maths.masks import zero_masked


class StepCounts(NamedTuple):
    """Counts of an optimiser step, over all micro-batches and processes."""

    num_sequences: float
    num_tokens: float
    """Completion tokens."""
    max_tokens: float
    """Length limit of a completion (`max_new_tokens`)."""


Reduction = Callable[[Tensor, StepCounts], Tensor]
"""(completion_mask (B, T), counts) → weights (B, T)."""


def sequence_mean(completion_mask: Tensor, counts: StepCounts) -> Tensor:
    """1 / (length_b · num_sequences): the mean over a completion's tokens, then over completions.

    (B, T) → (B, T). A token of a long completion counts less, so long bad completions are punished less per token than
    short ones, and the optimum moves if lengths differ. Source: Shao et al. 2024 (GRPO) eq. 3.
    """
    lengths = completion_mask.sum(-1, keepdim=True).clamp(min=1)
    return (1.0 / (lengths * counts.num_sequences)).expand(completion_mask.shape)


def token_mean(completion_mask: Tensor, counts: StepCounts) -> Tensor:
    """1 / num_tokens: every token of the step has the same weight.

    (B, T) → (B, T). The number of tokens varies from step to step. This changes the size of the steps and, because it
    depends on the completions, slightly their direction. Source: Yu et al. 2025 (DAPO), "Token-Level Policy Gradient
    Loss".
    """
    return _constant(1.0 / counts.num_tokens, completion_mask)


def constant_length(completion_mask: Tensor, counts: StepCounts) -> Tensor:
    """1 / (max_tokens · num_sequences): every token has the same weight in every step.

    (B, T) → (B, T). The gradient has the direction of that of the sum over tokens. Source: Liu et al. 2025 (Dr. GRPO).
    """
    return _constant(1.0 / (counts.max_tokens * counts.num_sequences), completion_mask)


def sequence_sum(completion_mask: Tensor, counts: StepCounts) -> Tensor:
    """1 / num_sequences: the sum over a completion's tokens, the mean over completions.

    (B, T) → (B, T). This is the policy gradient of textbooks. Source: Williams 1992; Ahmadian et al. 2024.
    """
    return _constant(1.0 / counts.num_sequences, completion_mask)


def weighted_sum(terms: Tensor, completion_mask: Tensor, weights: Tensor) -> Tensor:
    """Σ weights · terms over the positions where the mask is True; all (B, T) → 0-d. Masked terms may be NaN."""
    return (zero_masked(terms, completion_mask) * weights).sum()


def _constant(weight: float, completion_mask: Tensor) -> Tensor:
    return torch.full(completion_mask.shape, weight, device=completion_mask.device)
