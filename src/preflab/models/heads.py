"""Scalar heads: a linear map from a hidden state to a value or to a reward."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ScalarHead(nn.Module):
    """raw = weight · hidden + bias; normalised = gain · raw + offset.

    Weights start normal with standard deviation 1/√(H + 1) and bias 0 (Stiennon et al. 2020; Huang et al. 2024), or at
    zero, which predicts 0 everywhere. `gain` and `offset` are set after reward training and saved with the head.
    """

    gain: Tensor
    offset: Tensor

    def __init__(self, hidden_size: int, *, zero: bool = False, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1, dtype=dtype)
        nn.init.zeros_(self.linear.bias)
        if zero:
            nn.init.zeros_(self.linear.weight)
        else:
            nn.init.normal_(self.linear.weight, std=(hidden_size + 1) ** -0.5)
        self.nuisance: nn.Module | None = None
        """What a reward model learns beside its score while it is trained; never saved with it."""
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def raw(self, hidden: Tensor) -> Tensor:
        """(..., H) → (...) float32, before gain and offset."""
        weight = self.linear.weight
        return self.linear(hidden.to(weight.dtype)).squeeze(-1).float()

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., H) → (...) float32, normalised."""
        return self.gain * self.raw(hidden) + self.offset

    @torch.no_grad()
    def fold_in(self, other: ScalarHead) -> None:
        """Take over another head so that this one's raw output is the other's normalised one."""
        self.linear.weight.copy_(other.gain * other.linear.weight)
        self.linear.bias.copy_(other.gain * other.linear.bias + other.offset)
