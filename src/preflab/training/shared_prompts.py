"""Completions of one prompt in one row: the prompt goes through the model once, each completion sees it and itself.

    row of three completions     [ prompt | first | second | third | padding ]
    positions                      0 … P−1  P …     P …      P …
    token i sees token j           j ≤ i, and j is of the prompt or of i's own completion

R rows, L tokens of the longest row, B completions in the order they were given. Models whose attention takes a mask
of any shape give the same numbers as with one row per completion; `models.prompt_sharing` says which do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import JoinedRows, join_rows

PROMPT, PADDING = -1, -2


@dataclass(frozen=True)
class SharedRows(JoinedRows):
    """Rows of several completions; `lengths`, `prompt_lengths`, ids and mask of completions are still those of (B,)."""

    rows: torch.Tensor
    """(B,) row in which each completion lies."""
    starts: torch.Tensor
    """(B,) place in its row of each completion's first token."""
    position_ids: torch.Tensor
    """(R, L) position of each token in its own prompt + completion."""
    segments: torch.Tensor
    """(R, L) which completion each token belongs to, PROMPT or PADDING."""

    @property
    def state_mask(self) -> torch.Tensor:
        """(R, L) bool, True = a real token."""
        return self.segments != PADDING

    @property
    def token_rows(self) -> torch.Tensor:
        """(N,) row of each completion token."""
        return self.rows[self.completion_mask.nonzero()[:, 0]]

    @property
    def state_index(self) -> torch.Tensor:
        """(B, T) place of the token before each completion token: the prompt's last one before the first."""
        steps = torch.arange(self.completion_ids.shape[1], device=self.input_ids.device)
        before = self.starts[:, None] + steps - 1
        before[:, 0] = self.prompt_lengths - 1
        return before.clamp(max=self.input_ids.shape[1] - 1)

    @property
    def last_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) row and (B,) place of each sequence's last token: the prompt's where the completion is empty."""
        num_tokens = self.lengths - self.prompt_lengths
        ends = torch.where(num_tokens > 0, self.starts + num_tokens, self.prompt_lengths)
        return self.rows, ends - 1

    def model_inputs(self, dtype: torch.dtype) -> dict[str, Any]:
        """Tokens, positions, and who sees whom, (R, 1, L, L), added to attention."""
        same = self.segments[:, :, None] == self.segments[:, None, :]
        earlier = torch.ones_like(same[0]).tril()
        sees = (same | (self.segments == PROMPT)[:, None, :]) & earlier
        hidden = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
        hidden.masked_fill_(~sees, torch.finfo(dtype).min)
        return {"input_ids": self.input_ids, "position_ids": self.position_ids, "attention_mask": hidden[:, None]}


def share_rows(sequences: Sequence[TokenSequence], pad_id: int, longest_row: int) -> SharedRows:
    """Put neighbours with the same prompt into one row of at most `longest_row` tokens; others get one row each.

    Raises:
        PreflabError: a sequence has no prompt token.
    """
    plain = join_rows(sequences, pad_id)
    packed = packed_rows(sequences, longest_row)
    width = max(row_length([sequences[i] for i in row]) for row in packed)
    input_ids = torch.full((len(packed), width), pad_id)
    position_ids, segments = torch.zeros_like(input_ids), torch.full_like(input_ids, PADDING)
    rows, starts = torch.zeros(len(sequences), dtype=torch.long), torch.zeros(len(sequences), dtype=torch.long)
    for number, row in enumerate(packed):
        prompt = sequences[row[0]].prompt_ids
        end = _write(input_ids[number], position_ids[number], segments[number], 0, prompt, 0, PROMPT)
        for index in row:
            rows[index], starts[index] = number, end
            ids = sequences[index].completion_ids
            end = _write(input_ids[number], position_ids[number], segments[number], end, ids, len(prompt), index)
    return SharedRows(
        input_ids=input_ids,
        lengths=plain.lengths,
        prompt_lengths=plain.prompt_lengths,
        completion_ids=plain.completion_ids,
        completion_mask=plain.completion_mask,
        rows=rows,
        starts=starts,
        position_ids=position_ids,
        segments=segments,
    )


def packed_rows(sequences: Sequence[TokenSequence], longest_row: int) -> list[list[int]]:
    """Index lists of neighbours that share a prompt and a row; a sequence longer than `longest_row` has its own row."""
    rows: list[list[int]] = []
    for index, sequence in enumerate(sequences):
        last = [sequences[i] for i in rows[-1]] if rows else []
        fits = bool(last) and last[0].prompt_ids == sequence.prompt_ids
        if fits and row_length([*last, sequence]) <= longest_row:
            rows[-1].append(index)
        else:
            rows.append([index])
    return rows


def row_length(sequences: Sequence[TokenSequence]) -> int:
    """Tokens of a row: the prompt once, and every completion."""
    return len(sequences[0].prompt_ids) + sum(len(s.completion_ids) for s in sequences)


def _write(
    ids: torch.Tensor,
    positions: torch.Tensor,
    segments: torch.Tensor,
    start: int,
    tokens: Sequence[int],
    first_position: int,
    segment: int,
) -> int:
    """Write tokens into a row from `start`; returns where they end."""
    end = start + len(tokens)
    ids[start:end] = torch.tensor(tokens, dtype=torch.long)
    positions[start:end] = torch.arange(first_position, first_position + len(tokens))
    segments[start:end] = segment
    return end
