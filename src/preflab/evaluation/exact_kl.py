"""Exact KL(policy ‖ reference) along the policy's completions, summed over the whole vocabulary at every position."""

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
def sequence_kl(
    trunk: Trunk,
    sequences: Sequence[TokenSequence],
    *,
    temperature: float = 1.0,
    on_done: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """(N,) nats: Σ_t Σ_v π(v|s_t) log(π(v|s_t) / π_ref(v|s_t)) along each completion.

    The mean over completions of π estimates KL(π ‖ π_ref) of whole completions, with less variance than Σ_t log-ratios.

    Args:
        trunk: a trunk with the roles policy and reference.
        sequences: completions sampled from this policy.
        temperature: divides the logits of both; use the temperature of sampling.
        on_done: called after each batch with the number of its sequences.
    """
    kls = np.zeros(len(sequences))
    for rows in token_budget_batches([len(sequence) for sequence in sequences], TOKENS_PER_BATCH):
        batch = trunk.collate([sequences[row] for row in rows])
        kl = trunk(batch, ("policy", "reference"), temperature=temperature, exact_kl=True)["policy"].kl
        kls[rows] = torch.where(batch.completion_mask, kl, 0.0).cpu().double().sum(1).numpy()
        if on_done is not None:
            on_done(len(rows))
    return kls
