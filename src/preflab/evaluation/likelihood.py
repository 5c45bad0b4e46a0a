"""Log-probabilities of given completions under a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from preflab.models.trunk import Trunk
from preflab.training.batches import TokenSequence, token_budget_batches

TOKENS_PER_BATCH = 4096
"""Tokens in one forward pass; has no effect on the result."""


@torch.no_grad()
def completion_logps(trunk: Trunk, sequences: Sequence[TokenSequence]) -> NDArray[np.float64]:
    """(N,) nats: Σ_t log π(token_t | prompt and earlier tokens) of each completion, π the trunk's policy."""
    sums = np.zeros(len(sequences))
    for rows in token_budget_batches([len(sequence) for sequence in sequences], TOKENS_PER_BATCH):
        batch = trunk.collate([sequences[row] for row in rows])
        logps = trunk(batch, ("policy",))["policy"].logps
        assert logps is not None
        sums[rows] = torch.where(batch.completion_mask, logps, 0.0).cpu().double().sum(1).numpy()
    return sums
