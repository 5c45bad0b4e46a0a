"""Token batches: prompt + completion rows, right-padded, filled to a budget of tokens.

B sequences, T completion tokens, L all tokens. Right padding needs no attention mask in a causal model: what comes
after a token cannot reach it. Losses read `completion_mask`, never the padding id (pad may equal the end token).
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, fields
from typing import Any, Self

import torch

from preflab.errors import PreflabError


@dataclass(frozen=True)
class Sequence:
    """One prompt with one completion, as token ids."""

    prompt_ids: tuple[int, ...]
    """At least one token: the first completion token is predicted from the last prompt token."""
    completion_ids: tuple[int, ...]
    policy_tokens: tuple[bool, ...] | None = None
    """True = a token the policy wrote; None = all of them."""

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class TokenBatch:
    """Right-padded rows [prompt, completion, padding] and where the completion lies in them."""

    input_ids: torch.Tensor
    """(B, L) long."""
    lengths: torch.Tensor
    """(B,) real tokens per row."""
    prompt_lengths: torch.Tensor
    """(B,) prompt tokens per row."""
    completion_ids: torch.Tensor
    """(B, T) long, 0 where there is no token."""
    completion_mask: torch.Tensor
    """(B, T) bool, True = a token the policy wrote."""

    @property
    def attention_mask(self) -> torch.Tensor:
        """(B, L) bool, True = a real token."""
        places = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        return places < self.lengths[:, None]

    @property
    def state_index(self) -> torch.Tensor:
        """(B, T) position in L of the token before each completion token: where its logits and value are read."""
        places = torch.arange(self.completion_ids.shape[1], device=self.input_ids.device)
        return (self.prompt_lengths[:, None] - 1 + places).clamp(max=self.input_ids.shape[1] - 1)

    @property
    def last_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) row and (B,) position in L of each sequence's last token."""
        return torch.arange(len(self.lengths), device=self.lengths.device), self.lengths - 1

    @property
    def token_rows(self) -> torch.Tensor:
        """(N,) row of each completion token."""
        return self.completion_mask.nonzero()[:, 0]

    def model_inputs(self, dtype: torch.dtype) -> dict[str, Any]:
        """What a decoder is called with; right padding needs no mask. `dtype` is the model's, for those that do."""
        return {"input_ids": self.input_ids}

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def collate(sequences: Seq[Sequence], pad_id: int) -> TokenBatch:
    """Rows of differing lengths to one right-padded batch.

    Raises:
        PreflabError: a sequence has no prompt token.
    """
    for sequence in sequences:
        if not sequence.prompt_ids:
            raise PreflabError(
                "a sequence without a prompt token",
                "at least one token (a BOS token counts) before the completion",
                "give the prompt a text, or use a tokenizer that adds a BOS token",
            )
    num_tokens = max(len(s.completion_ids) for s in sequences)
    return TokenBatch(
        input_ids=_padded([s.prompt_ids + s.completion_ids for s in sequences], pad_id),
        lengths=torch.tensor([len(s) for s in sequences]),
        prompt_lengths=torch.tensor([len(s.prompt_ids) for s in sequences]),
        completion_ids=_padded([s.completion_ids for s in sequences], 0, num_tokens),
        completion_mask=_padded([_policy_tokens(s) for s in sequences], False, num_tokens).bool(),
    )


def padded_floats(rows: Seq[Seq[float]], num_tokens: int) -> torch.Tensor:
    """(B, T) float32 from rows of differing lengths, 0 beyond their ends."""
    return _padded(rows, 0.0, num_tokens).float()


def token_budget_batches(lengths: Seq[int], tokens_per_batch: int) -> list[list[int]]:
    """Index lists whose padded size (rows × longest row) stays within the budget, filled from the longest down.

    A row longer than the budget stands alone. Length-sorted, so that little is padding.

    Example:
        >>> token_budget_batches([3, 9, 3, 2], tokens_per_batch=9)
        [[1], [0, 2, 3]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= tokens_per_batch:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def whole_group_batches(sizes: Seq[tuple[int, int]], tokens_per_batch: int) -> list[list[int]]:
    """Index lists of groups of rows, each kept whole, whose padded size (rows × longest row) stays within the budget.

    sizes: (rows, tokens of the longest row) of each group. A group beyond the budget stands alone. Sorted by the
    longest row, so that little is padding.

    Example:
        >>> whole_group_batches([(2, 3), (1, 9), (3, 3)], tokens_per_batch=15)
        [[1], [0, 2]]
    """
    batches: list[list[int]] = []
    rows = 0
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i][1]):
        num = sizes[index][0]
        if batches and sizes[batches[-1][0]][1] * (rows + num) <= tokens_per_batch:
            batches[-1].append(index)
            rows += num
        else:
            batches.append([index])
            rows = num
    return batches


def _policy_tokens(sequence: Sequence) -> tuple[bool, ...]:
    return sequence.policy_tokens or (True,) * len(sequence.completion_ids)


def _padded(rows: Seq[Seq[float]], fill: float, width: int | None = None) -> torch.Tensor:
    width = width if width is not None else max(len(row) for row in rows)
    return torch.tensor([list(row) + [fill] * (width - len(row)) for row in rows])
