"""Sequences joined end to end in one row, so that a forward pass computes no padding.

    row          [ p p p c c | p c c c | p p c ]        three sequences, prompts p and completions c
    positions      0 1 2 3 4   0 1 2 3   0 1 2
    cumulative   0           5         9       12

A token attends to its own sequence only, which `models.varlen` ensures; `models.packing` decides which models take this
layout. In shapes, B is the number of sequences, T the completion tokens of the longest, N the tokens of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch

from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import JoinedRows, check_prompts, padded_fields


@dataclass(frozen=True)
class UnpaddedRows(JoinedRows):
    """One row that holds all sequences. `lengths`, `prompt_lengths` and the completions have B entries."""

    position_ids: torch.Tensor
    """(1, N) position of each token in its sequence."""
    cumulative: torch.Tensor
    """(B + 1,) int32: where each sequence begins in the row, and N."""
    longest: int
    """Tokens of the longest sequence, known to the host, so that no pass waits for the device to learn it."""

    @property
    def state_mask(self) -> torch.Tensor:
        """(1, N) bool, all True: every token is real."""
        return torch.ones_like(self.input_ids, dtype=torch.bool)

    @property
    def token_rows(self) -> torch.Tensor:
        """(N,) the only row, for each completion token."""
        return torch.zeros_like(self.token_places)

    @property
    def state_index(self) -> torch.Tensor:
        """(B, T) position of the token before each completion token."""
        steps = torch.arange(self.completion_ids.shape[1], device=self.input_ids.device)
        before = (self.cumulative[:-1] + self.prompt_lengths - 1)[:, None] + steps
        return before.clamp(max=self.input_ids.shape[1] - 1)

    @property
    def last_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) the only row, and (B,) position of each sequence's last token."""
        return torch.zeros_like(self.lengths), self.cumulative[1:].long() - 1

    def model_inputs(self, dtype: torch.dtype) -> dict[str, Any]:
        """Token ids and positions, no mask, and where sequences begin, under the names that transformers passes on."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": None,
            "cu_seq_lens_q": self.cumulative,
            "max_length_q": self.longest,
        }


def join_unpadded(sequences: Sequence[TokenSequence]) -> UnpaddedRows:
    """All sequences as one row without padding, in their order.

    Raises:
        PreflabError: a sequence has no prompt token.
    """
    check_prompts(sequences)
    lengths = [len(sequence) for sequence in sequences]
    ids = list(chain.from_iterable((*sequence.prompt_ids, *sequence.completion_ids) for sequence in sequences))
    return UnpaddedRows(
        **padded_fields(sequences),
        input_ids=torch.tensor([ids]),
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
        cumulative=torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
        longest=max(lengths),
    )
