"""The tokens that truncated sampling kept, per token that was drawn: top-k, top-p and min-p leave only some ids.

A token was drawn from the distribution restricted to these ids. If the trainer restricts its own distribution to the
same ids, the ratio π/π_old compares two probabilities of one set of actions, and training on truncated samples is
exact for the truncated policy. N drawn tokens, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from preflab.errors import PreflabError


@dataclass(frozen=True, eq=False)
class KeptTokens:
    """For each of N drawn tokens, the ids that could have been drawn, in any order."""

    ids: Tensor
    """(M,) ids of all N tokens, one token's after the other's."""
    ends: Tensor
    """(N,) long, where each token's ids end in `ids`."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> KeptTokens:
        """From one list of ids per drawn token."""
        counts = torch.tensor([len(row) for row in rows], dtype=torch.long)
        flat = [token for row in rows for token in row]
        return cls(torch.tensor(flat, dtype=torch.int32), counts.cumsum(0))

    @classmethod
    def of_mask(cls, mask: Tensor) -> KeptTokens:
        """From (N, V) bool, True = the id is kept."""
        return cls(mask.nonzero()[:, 1].to(torch.int32), mask.sum(-1).cumsum(0))

    @classmethod
    def joined(cls, parts: Sequence[KeptTokens]) -> KeptTokens:
        """Those of several completions, one after the other."""
        starts = [0, *torch.tensor([len(part.ids) for part in parts]).cumsum(0).tolist()]
        ends = [part.ends + start for part, start in zip(parts, starts, strict=False)]
        return cls(torch.cat([part.ids for part in parts]), torch.cat(ends))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, part: slice) -> KeptTokens:
        """Those of the drawn tokens in a slice."""
        first, ends = range(len(self))[part].start, self.ends[part]
        start = int(self.ends[first - 1]) if first else 0
        end = int(ends[-1]) if len(ends) else start
        return KeptTokens(self.ids[start:end], ends - start)

    def rows(self) -> list[list[int]]:
        """One list of ids per drawn token."""
        starts = [0, *self.ends.tolist()]
        return [self.ids[start:end].tolist() for start, end in itertools.pairwise(starts)]

    def to(self, device: torch.device | str) -> KeptTokens:
        """The same on another device."""
        return KeptTokens(self.ids.to(device), self.ends.to(device))

    def mask(self, num_ids: int) -> Tensor:
        """(N, num_ids) bool, True = the id is kept."""
        counts = torch.diff(self.ends, prepend=self.ends.new_zeros(1))
        rows = torch.repeat_interleave(torch.arange(len(self), device=self.ids.device), counts)
        mask = torch.zeros(len(self), num_ids, dtype=torch.bool, device=self.ids.device)
        mask[rows, self.ids.long()] = True
        return mask

    def check(self, token_ids: Sequence[int]) -> None:
        """Check that each drawn token is among its kept ids.

        Raises:
            PreflabError: there are more or fewer lists than tokens, or a token is not in its list.
        """
        rows = self.rows()
        missing = [place for place, (token, row) in enumerate(zip(token_ids, rows, strict=False)) if token not in row]
        if len(rows) == len(token_ids) and not missing:
            return
        raise PreflabError(
            f"token {token_ids[missing[0]]} at position {missing[0]} is not among the ids that its sampling mask keeps"
            if missing
            else f"sampling masks of {len(rows)} tokens for a completion of {len(token_ids)}",
            "one mask per token, with the token in it",
            "check the engine: masks and tokens must be those of the same completion",
        )
