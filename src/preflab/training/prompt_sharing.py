"""Micro-batches in which the completions of a prompt share its rows, for loops that learn from groups of completions.

K completions of T tokens after a prompt of P tokens are P + K · T tokens for the model instead of K · (P + T).
Rows are laid out by `training.shared_prompts`; `models.prompt_sharing` decides which models may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from preflab.training.batches import Collate, TokenBatch, TokenSequence, token_budget_batches, whole_group_batches
from preflab.training.shared_prompts import packed_rows, row_length, share_rows


@dataclass(frozen=True)
class PromptSharing:
    """The rule by which a loop's completions share rows."""

    longest_row: int
    """Most tokens of a row."""
    pad_id: int
    width: int = 0
    """H of the model, with which a row grows only as long as that is cheaper; 0: up to `longest_row`."""

    def batch(self, sequences: Sequence[TokenSequence], collate: Collate, device: torch.device) -> TokenBatch:
        """The sequences with shared rows; as `collate` arranges them if no prompt occurs twice in a row."""
        if len(packed_rows(sequences, self.longest_row, self.width)) == len(sequences):
            return collate(sequences)
        return share_rows(sequences, self.pad_id, self.longest_row, self.width).to(device)

    def size(self, sequences: Sequence[TokenSequence]) -> tuple[int, int]:
        """(number of rows, tokens of the longest row) of sequences in shared rows."""
        packed = packed_rows(sequences, self.longest_row, self.width)
        return len(packed), max(row_length([sequences[i] for i in row]) for row in packed)

    def micro_batches(
        self, sequences: Sequence[TokenSequence], rows: Sequence[int], tokens_per_batch: int
    ) -> list[list[int]]:
        """Micro-batches of some of the sequences, within the token budget, with those of one prompt side by side.

        Sequences of one prompt are in one micro-batch if they fit. Otherwise they are cut between shared rows, and a
        part is a micro-batch.
        """
        by_prompt: dict[tuple[int, ...], list[int]] = {}
        for row in rows:
            by_prompt.setdefault(sequences[row].prompt_ids, []).append(row)
        whole: list[list[int]] = []
        parts: list[list[int]] = []
        for group in by_prompt.values():
            num_rows, longest = self.size([sequences[i] for i in group])
            if num_rows * longest <= tokens_per_batch:
                whole.append(group)
                continue
            packed = packed_rows([sequences[i] for i in group], self.longest_row, self.width)
            per_part = max(1, tokens_per_batch // longest)
            cuts = [packed[start : start + per_part] for start in range(0, num_rows, per_part)]
            parts += [[group[i] for row in cut for i in row] for cut in cuts]
        sizes = [self.size([sequences[i] for i in group]) for group in whole]
        return parts + [
            [row for n in part for row in whole[n]] for part in whole_group_batches(sizes, tokens_per_batch)
        ]


def micro_batches(
    sequences: Sequence[TokenSequence], rows: Sequence[int], tokens_per_batch: int, sharing: PromptSharing | None
) -> list[list[int]]:
    """Micro-batches of some of the sequences; without sharing those of `token_budget_batches`."""
    if sharing is not None:
        return sharing.micro_batches(sequences, rows, tokens_per_batch)
    parts = token_budget_batches([len(sequences[row]) for row in rows], tokens_per_batch)
    return [[rows[i] for i in part] for part in parts]
