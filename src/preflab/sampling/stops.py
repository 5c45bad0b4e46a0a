"""Detects the end of a completion: a stop token, or a stop string in its text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from preflab.conversations.joining import decode
from preflab.errors import PreflabError


def stop_table(stop_token_ids: Sequence[int], vocabulary_size: int, device: torch.device) -> torch.Tensor:
    """(V,) bool, True for the tokens that end a completion.

    Raises:
        PreflabError: a stop token is not in the vocabulary.
    """
    table = torch.zeros(vocabulary_size, dtype=torch.bool, device=device)
    for token in stop_token_ids:
        if not 0 <= token < vocabulary_size:
            raise PreflabError(
                f"stop token {token} is not in the vocabulary",
                f"ids from 0 to {vocabulary_size - 1}",
                "correct stop_token_ids, or eos_token_id in the model's generation_config.json",
            )
        table[token] = True
    return table


class StopStrings:
    """Finds stop strings in the text of rows. Decodes only as many last tokens as the longest stop string can span."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, strings: Sequence[str]) -> None:
        if strings and tokenizer is None:
            raise PreflabError(
                "stop strings are set, but the sampler has no tokenizer",
                "a tokenizer, to compare the text with the stop strings",
                "pass a tokenizer to the sampler, or use stop_token_ids",
            )
        if "" in strings:
            raise PreflabError("an empty stop string", "at least one character", "remove it from stop_strings")
        self.tokenizer, self.strings = tokenizer, tuple(strings)
        # A token decodes to at least one byte. Add a few tokens, since decoding may drop the first one's leading space.
        self.num_tokens = max((len(string.encode()) for string in strings), default=0) + 4

    def __bool__(self) -> bool:
        return bool(self.strings)

    def completed(self, written: torch.Tensor) -> torch.Tensor:
        """(B,) bool for tokens (t, B): True for rows whose last tokens, as text, contain a stop string."""
        tails = written[-self.num_tokens :].T.tolist()
        texts = [decode(self.tokenizer, tail) for tail in tails]
        return torch.tensor([any(s in text for s in self.strings) for text in texts], device=written.device)
