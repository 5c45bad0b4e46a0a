"""Exact KL(policy ‖ reference) of completions that the policy wrote: over the whole vocabulary at every position."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from preflab.models.trunk import Trunk
from preflab.training.batches import TokenSequence, token_budget_batches

TOKENS_PER_BATCH = 4096
"""Tokens in one forward pass; never changes the result."""


@torch.no_grad()
def sequence_kl(
    trunk: Trunk,
    sequences: Sequence[TokenSequence],
    *,
    temperature: float = 1.0,
    on_done: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """(N,) nats: Σ_t Σ_v π(v|s_t) log(π(v|s_t) / π_ref(v|s_t)) along each completion.

    Its mean over completions of π is KL(π ‖ π_ref) of whole completions, with less spread than Σ_t log-ratios.

    Args:
        trunk: with the roles policy and reference.
        sequences: completions that this policy wrote.
        temperature: the logits of both are divided by it; that of sampling.
        on_done: told how many more are done.
    """
    found = np.zeros(len(sequences))
    for rows in token_budget_batches([len(sequence) for sequence in sequences], TOKENS_PER_BATCH):
        batch = trunk.collate([sequences[row] for row in rows])
        said = trunk(batch, ("policy", "reference"), temperature=temperature, exact_kl=True)["policy"].kl
        found[rows] = torch.where(batch.completion_mask, said, 0.0).cpu().double().sum(1).numpy()
        if on_done is not None:
            on_done(len(rows))
    return found
