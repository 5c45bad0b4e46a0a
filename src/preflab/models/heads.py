"""Heads: linear maps from a hidden state to a value, to a reward, or to one score per criterion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ScalarHead(nn.Module):
    """raw = weight · hidden + bias; normalised = gain · raw + offset.

    Weights are initialised from a normal distribution with standard deviation 1/√(H + 1) and the bias to 0 (Stiennon et
    al. 2020; Huang et al. 2024). With `zero` both are 0, so the head predicts 0 everywhere. `gain` and `offset` are set
    after reward training and saved with the head.
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
        """`rewards.objectives.Nuisance` during reward training: explains ties and length; not saved with the head."""
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def raw(self, hidden: Tensor) -> Tensor:
        """Raw scores before gain and offset: (..., H) → (...) float32."""
        weight = self.linear.weight
        return self.linear(hidden.to(weight.dtype)).squeeze(-1).float()

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalised scores: (..., H) → (...) float32."""
        return self.gain * self.raw(hidden) + self.offset

    @torch.no_grad()
    def fold_in(self, other: ScalarHead) -> None:
        """Copy another head so that this head's raw output equals the other's normalised output."""
        self.linear.weight.copy_(other.gain * other.linear.weight)
        self.linear.bias.copy_(other.gain * other.linear.bias + other.offset)


class CriteriaHead(nn.Module):
    """scores_c = weight_c · hidden + bias_c: one score per criterion, used in training on ratings.

    Args:
        hidden_size: H.
        num_criteria: C.
        seed: seeds the weights, which have the same initial distribution as those of `ScalarHead`.
    """

    def __init__(self, hidden_size: int, num_criteria: int, seed: int = 0) -> None:
        super().__init__()
        self.num_criteria = num_criteria
        self.linear = nn.Linear(hidden_size, num_criteria)
        start = torch.randn(num_criteria, hidden_size, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            self.linear.weight.copy_(start * (hidden_size + 1) ** -0.5)
        nn.init.zeros_(self.linear.bias)

    @classmethod
    def beside(cls, head: ScalarHead, num_criteria: int, seed: int) -> CriteriaHead:
        """A criteria head of the same hidden size and on the same device as a scalar head."""
        return cls(head.linear.in_features, num_criteria, seed).to(head.linear.weight.device)

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores per criterion: (..., H) → (..., C) float32."""
        return self.linear(hidden.to(self.linear.weight.dtype)).float()

    @torch.no_grad()
    def combined(self, weights: Sequence[float]) -> ScalarHead:
        """A scalar head whose score is Σ_c weights_c · scores_c / Σ_c |weights_c|."""
        shares = torch.tensor(weights, device=self.linear.weight.device)
        shares = shares / shares.abs().sum()
        head = ScalarHead(self.linear.in_features).to(shares.device)
        head.linear.weight.copy_((shares @ self.linear.weight)[None])
        head.linear.bias.copy_((shares @ self.linear.bias)[None])
        return head
