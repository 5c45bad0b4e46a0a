"""What a role of the trunk gives for a batch: log-probabilities, values, rewards, a loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RoleOutput:
    """What one role says about a batch; None where it has nothing to say."""

    logps: Tensor | None = None
    """(B, T) log-probability of each completion token at the temperature; 0 outside the completion mask."""
    entropy: Tensor | None = None
    """(B, T) entropy of the next-token distribution, nats; zeros where it was not asked for."""
    kl: Tensor | None = None
    """(B, T) exact KL(policy ‖ reference) of the next-token distribution, nats."""
    values: Tensor | None = None
    """(B, T) value of the state before each completion token."""
    last_values: Tensor | None = None
    """(B,) value of the state after the last token."""
    rewards: Tensor | None = None
    """(B,) normalised reward of the whole sequence."""
    loss: Tensor | None = None
    """0-d sum of the token loss that was handed in; logps, entropy and kl are then to be looked at only."""
