"""Log-probabilities of given completions under a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from preflab.models.trunk import Trunk
from preflab.training.batches import TokenSequence, token_budget_batches

TOKENS_PER_BATCH = 4096
"""Tokens in one forward pass; has no effect on the result."""


@torch.no_grad()
def completion_logps(
    trunk: Trunk,
    sequences: Sequence[TokenSequence],
    *,
    temperature: float = 1.0,
    on_done: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """(N,) nats: Σ_t log π(token_t | prompt and earlier tokens) of each completion, π the trunk's policy.

    Args:
        trunk: a trunk with the role policy.
        sequences: the completions.
        temperature: divides the logits; use the temperature of sampling.
        on_done: called after each batch with the number of its sequences.
    """
    sums = np.zeros(len(sequences))
    for rows in token_budget_batches([len(sequence) for sequence in sequences], TOKENS_PER_BATCH):
        batch = trunk.collate([sequences[row] for row in rows])
        logps = trunk(batch, ("policy",), temperature=temperature)["policy"].logps
        assert logps is not None
        sums[rows] = torch.where(batch.completion_mask, logps, 0.0).cpu().double().sum(1).numpy()
        if on_done is not None:
            on_done(len(rows))
    return sums
