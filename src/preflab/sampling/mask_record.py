"""Records the ids that truncated sampling kept while a batch is decoded, for the trainer (`training.kept_tokens`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from preflab.sampling.draw import kept_tokens
from preflab.settings.sampling import DecodingSettings
from preflab.training.kept_tokens import KeptTokens
from preflab.training.protocols import SampledCompletion


class MaskRecord:
    """The kept ids of every drawn token of a batch.

    Args:
        num_rows: requests in the batch.
        decoding: how tokens are drawn; None: nothing is recorded. Without truncation nothing is recorded either.
    """

    def __init__(self, num_rows: int, decoding: DecodingSettings | None) -> None:
        truncates = decoding is not None and decoding.truncated and decoding.temperature > 0
        self.decoding = decoding if truncates else None
        self.rows: list[list[KeptTokens]] = [[] for _ in range(num_rows if truncates else 0)]

    def keep(self, logits: torch.Tensor, rows: torch.Tensor) -> None:
        """Record the ids that a token of each of these rows is drawn from, given logits (rows, V)."""
        if self.decoding is None:
            return
        how = self.decoding
        mask = kept_tokens(logits, temperature=how.temperature, top_k=how.top_k, top_p=how.top_p, min_p=how.min_p)
        kept = KeptTokens.of_mask(mask).to("cpu")
        for place, row in enumerate(rows.tolist()):
            self.rows[row].append(kept[place : place + 1])

    def added_to(self, completions: Sequence[SampledCompletion]) -> list[SampledCompletion]:
        """The completions with their masks, unchanged if nothing was recorded."""
        if self.decoding is None:
            return list(completions)
        return [
            replace(one, kept=KeptTokens.joined(kept[: len(one.token_ids)]))
            for one, kept in zip(completions, self.rows, strict=True)
        ]
