"""Prompts and completions as separate tensors, the input of encoder–decoders.

    encoder    p_0 … p_{P−1}                      each distinct prompt once
    decoder    start tokens, c_0 … c_{T−1}        the state at place S − 1 + t predicts c_t

In shapes, B is the number of sequences, U the number of distinct prompts, P the tokens of the longest prompt, T the
completion tokens of the longest, S the tokens that every decoder row starts with (a start token, and a language code or
another forced token). The policy does not choose start tokens, so they are not in `completion_ids`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from preflab.errors import PreflabError
from preflab.training.batches import TokenBatch, TokenSequence, padded, padded_completions


@dataclass(frozen=True)
class SeparatePrompts(TokenBatch):
    """Distinct prompts for the encoder and completions for the decoder, all right-padded."""

    input_ids: torch.Tensor
    """(U, P) long."""
    attention_mask: torch.Tensor
    """(U, P) long, 1 = a real token."""
    prompt_rows: torch.Tensor
    """(B,) row in `input_ids` of each completion's prompt."""
    decoder_input_ids: torch.Tensor
    """(B, S + T) long: start tokens and completion."""
    first_state: torch.Tensor
    """() S − 1: the place of the state that predicts the first completion token."""

    @property
    def num_tokens(self) -> torch.Tensor:
        """(B,) completion tokens."""
        return self.lengths - self.attention_mask.sum(1)[self.prompt_rows]

    @property
    def state_mask(self) -> torch.Tensor:
        """(B, S + T) bool, True = the state of a real token, start tokens included."""
        places = torch.arange(self.decoder_input_ids.shape[1], device=self.prompt_rows.device)
        return places <= (self.first_state + self.num_tokens)[:, None]

    @property
    def token_rows(self) -> torch.Tensor:
        """(N,) row of each completion token."""
        return self.token_sequences

    @property
    def state_index(self) -> torch.Tensor:
        """(B, T) place S − 1 + t of the state that predicts token t."""
        steps = torch.arange(self.completion_ids.shape[1], device=self.prompt_rows.device)
        return (self.first_state + steps).expand_as(self.completion_ids)

    @property
    def last_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) row and (B,) place of the state after the last token."""
        return torch.arange(len(self.lengths), device=self.lengths.device), self.first_state + self.num_tokens

    def model_inputs(self, dtype: torch.dtype) -> dict[str, Any]:
        """The prompts with their mask, the row of each completion's prompt, and the decoder's input ids."""
        names = ("input_ids", "attention_mask", "prompt_rows", "decoder_input_ids")
        return {name: getattr(self, name) for name in names}


def separate_prompts(sequences: Sequence[TokenSequence], pad_id: int, start: Sequence[int]) -> SeparatePrompts:
    """Sequences as a batch in which each distinct prompt occurs once, in the order of first use.

    Args:
        sequences: prompts, with every token that the encoder reads, and completions.
        pad_id: fills rows on the right; it is always masked.
        start: the tokens that every decoder row starts with.

    Raises:
        PreflabError: a sequence has no prompt token.
    """
    prompts = list(dict.fromkeys(sequence.prompt_ids for sequence in sequences))
    if () in prompts:
        raise PreflabError(
            "a sequence without a prompt token",
            "at least one token for the encoder (an end token counts)",
            "give the prompt a text, or use a tokenizer that adds an end token",
        )
    rows = {prompt: row for row, prompt in enumerate(prompts)}
    return SeparatePrompts(
        **padded_completions(sequences),
        input_ids=padded(prompts, pad_id),
        attention_mask=padded([(1,) * len(prompt) for prompt in prompts], 0),
        prompt_rows=torch.tensor([rows[sequence.prompt_ids] for sequence in sequences]),
        decoder_input_ids=padded([(*start, *sequence.completion_ids) for sequence in sequences], pad_id),
        first_state=torch.tensor(len(start) - 1),
    )
