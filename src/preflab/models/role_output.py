"""The output of one role of the trunk for a batch: log-probabilities, values, rewards or a loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from preflab.training.batches import TokenBatch


@dataclass(frozen=True)
class RoleOutput:
    """The output of one role for a batch; fields that the role does not compute are None."""

    logps: Tensor | None = None
    """(B, T) log-probability of each completion token at the given temperature, nats; 0 outside the completion mask."""
    entropy: Tensor | None = None
    """(B, T) entropy of the next-token distribution, nats; zeros if it was not requested."""
    kl: Tensor | None = None
    """(B, T) exact KL(policy ‖ reference) of the next-token distribution, nats."""
    values: Tensor | None = None
    """(B, T) value of the state before each completion token."""
    last_values: Tensor | None = None
    """(B,) value of the state after the last token."""
    action_values: Tensor | None = None
    """(B, T) Q of each completion token in the state before it, if the trunk has a Q head."""
    target_action_values: Tensor | None = None
    """(B, T) the same from the target copy of the Q head, without gradient."""
    rewards: Tensor | None = None
    """(B,) normalised reward of the whole sequence."""
    loss: Tensor | None = None
    """0-d sum of the token loss that the caller passed. With a loss, use logps, entropy and kl for logging only."""


def spread(flat: Tensor, batch: TokenBatch) -> Tensor:
    """Scatter the (N,) values of the policy's tokens to (B, T), with 0 elsewhere; differentiable."""
    shape = batch.completion_mask.shape
    zeros = torch.zeros(shape.numel(), dtype=flat.dtype, device=flat.device)
    return zeros.index_copy(0, batch.token_places, flat).view(shape)
