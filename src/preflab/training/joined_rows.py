"""Prompt and completion joined in one right-padded row, the input of decoders and of encoder reward models.

In shapes, B is the number of sequences, T the completion tokens and L all tokens of the longest. Right padding needs no
attention mask in a causal model, because a token cannot attend to later ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from preflab.errors import PreflabError
from preflab.training.batches import TokenBatch, TokenSequence, padded, padded_completions


@dataclass(frozen=True)
class JoinedRows(TokenBatch):
    """Right-padded rows [prompt, completion, padding], with the position of the completion in each."""

    input_ids: torch.Tensor
    """(B, L) long."""
    prompt_lengths: torch.Tensor
    """(B,) prompt tokens per row."""

    @property
    def state_mask(self) -> torch.Tensor:
        """(B, L) bool, True = a real token."""
        places = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        return places < self.lengths[:, None]

    @property
    def state_index(self) -> torch.Tensor:
        """(B, T) position in L of the token before each completion token; its logits and value are read there."""
        places = torch.arange(self.completion_ids.shape[1], device=self.input_ids.device)
        return (self.prompt_lengths[:, None] - 1 + places).clamp(max=self.input_ids.shape[1] - 1)

    @property
    def last_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) row and (B,) position in L of each sequence's last token."""
        return torch.arange(len(self.lengths), device=self.lengths.device), self.lengths - 1

    @property
    def token_rows(self) -> torch.Tensor:
        """(N,) row of each completion token."""
        return self.token_sequences

    def model_inputs(self, dtype: torch.dtype) -> dict[str, Any]:
        """Only the token ids, because right padding needs no mask in a decoder."""
        return {"input_ids": self.input_ids}


def join_rows(sequences: Sequence[TokenSequence], pad_id: int) -> JoinedRows:
    """Rows of differing lengths as one right-padded batch.

    Raises:
        PreflabError: a sequence has no prompt token. The last prompt token predicts the first completion token.
    """
    check_prompts(sequences)
    return JoinedRows(
        **padded_fields(sequences),
        input_ids=padded([s.prompt_ids + s.completion_ids for s in sequences], pad_id),
    )


def check_prompts(sequences: Sequence[TokenSequence]) -> None:
    """Refuse sequences without a prompt token.

    Raises:
        PreflabError: a sequence has no prompt token. The last prompt token predicts the first completion token.
    """
    for sequence in sequences:
        if not sequence.prompt_ids:
            raise PreflabError(
                "a sequence without a prompt token",
                "at least one token (a BOS token counts) before the completion",
                "write a text into the prompt, or use a tokenizer that adds a BOS token",
            )


def padded_fields(sequences: Sequence[TokenSequence]) -> dict[str, Any]:
    """The fields with one entry per sequence, which are padded whether the rows are or not."""
    return padded_completions(sequences) | {"prompt_lengths": torch.tensor([len(s.prompt_ids) for s in sequences])}
