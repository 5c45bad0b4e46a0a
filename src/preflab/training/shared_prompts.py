"""Several completions of one prompt in one row, so that the prompt passes through the model only once.

Each completion attends to the prompt and to itself:

    row of three completions     [ prompt | first | second | third | padding ]
    positions                      0 … P−1  P …     P …      P …
    token i attends to token j     j ≤ i, and j is in the prompt or in the completion of i

In shapes, R is the number of rows, L the tokens of the longest row, B the completions in their given order. Models
whose attention accepts an arbitrary mask give the same numbers as with one row per completion;
`models.prompt_sharing` decides which models do.
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
    """Rows of several completions. `lengths`, `prompt_lengths` and the ids and mask of completions have B entries."""

    rows: torch.Tensor
    """(B,) row of each completion."""
    starts: torch.Tensor
    """(B,) position in its row of each completion's first token."""
    position_ids: torch.Tensor
    """(R, L) position of each token within its prompt and completion."""
    segments: torch.Tensor
    """(R, L) index of the completion that each token belongs to, or PROMPT or PADDING."""

    @property
    def state_mask(self) -> torch.Tensor:
        """(R, L) bool, True = a real token."""
        return self.segments != PADDING

    @property
    def token_rows(self) -> torch.Tensor:
        """(N,) row of each completion token."""
        return self.rows[self.token_sequences]

    @property
    def state_index(self) -> torch.Tensor:
        """(B, T) position of the token before each completion token; for the first, that of the prompt's last token."""
        steps = torch.arange(self.completion_ids.shape[1], device=self.input_ids.device)
        before = self.starts[:, None] + steps - 1
        before[:, 0] = self.prompt_lengths - 1
        return before.clamp(max=self.input_ids.shape[1] - 1)

    @property
    def last_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) row and (B,) position of each sequence's last token; the prompt's last if the completion is empty."""
        num_tokens = self.lengths - self.prompt_lengths
        ends = torch.where(num_tokens > 0, self.starts + num_tokens, self.prompt_lengths)
        return self.rows, ends - 1

    def model_inputs(self, dtype: torch.dtype) -> dict[str, Any]:
        """Token ids, positions, and the additive attention mask (R, 1, L, L)."""
        same = self.segments[:, :, None] == self.segments[:, None, :]
        earlier = torch.ones_like(same[0]).tril()
        sees = (same | (self.segments == PROMPT)[:, None, :]) & earlier
        hidden = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
        hidden.masked_fill_(~sees, torch.finfo(dtype).min)
        return {"input_ids": self.input_ids, "position_ids": self.position_ids, "attention_mask": hidden[:, None]}


def share_rows(sequences: Sequence[TokenSequence], pad_id: int, longest_row: int, width: int = 0) -> SharedRows:
    """Put adjacent sequences with the same prompt into the rows of `packed_rows`; others get one row each.

    Raises:
        PreflabError: a sequence has no prompt token.
    """
    plain = join_rows(sequences, pad_id)
    packed = packed_rows(sequences, longest_row, width)
    longest = max(row_length([sequences[i] for i in row]) for row in packed)
    input_ids = torch.full((len(packed), longest), pad_id)
    position_ids, segments = torch.zeros_like(input_ids), torch.full_like(input_ids, PADDING)
    rows, starts = torch.zeros(len(sequences), dtype=torch.long), torch.zeros(len(sequences), dtype=torch.long)
    for number, row in enumerate(packed):
        prompt = sequences[row[0]].prompt_ids
        end = _write(input_ids[number], position_ids[number], segments[number], 0, prompt, 0, PROMPT)
        for index in row:
            rows[index], starts[index] = number, end
            ids = sequences[index].completion_ids
            end = _write(input_ids[number], position_ids[number], segments[number], end, ids, len(prompt), index)
    of_completions = {**vars(plain), "input_ids": input_ids}  # every other field has entries per completion
    return SharedRows(**of_completions, rows=rows, starts=starts, position_ids=position_ids, segments=segments)


def packed_rows(sequences: Sequence[TokenSequence], longest_row: int, width: int = 0) -> list[list[int]]:
    """Index lists, one per row, of adjacent sequences with the same prompt.

    A row has at most `longest_row` tokens; a longer sequence has its own row. With the `width` of the model, a sequence
    joins a row only if that is cheaper than a row of its own (`pays`).
    """
    rows: list[list[int]] = []
    for index, sequence in enumerate(sequences):
        last = [sequences[i] for i in rows[-1]] if rows else []
        fits = bool(last) and last[0].prompt_ids == sequence.prompt_ids
        if fits and row_length([*last, sequence]) <= longest_row and (not width or pays(last, sequence, width)):
            rows[-1].append(index)
        else:
            rows.append([index])
    return rows


def pays(row: Sequence[TokenSequence], sequence: TokenSequence, width: int) -> bool:
    """Whether a sequence in this row takes fewer operations than in a row of its own.

    A token costs 24 H² multiplications and additions in a layer's linear parts and 4 H per token of its row in
    attention, since a mask is no reason to skip any. A row of L tokens therefore costs L (L + 6 H) units of 4 H. In a
    row of its own attention is causal and costs half.
    """
    before, own = row_length(row), len(sequence)
    after = before + len(sequence.completion_ids)
    added = after * (after + 6 * width) - before * (before + 6 * width)
    return added < own * (own / 2 + 6 * width)


def row_length(sequences: Sequence[TokenSequence]) -> int:
    """Number of tokens of a row that holds the prompt once and all completions."""
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
    """Write tokens into a row from `start`; returns the position after the last one."""
    end = start + len(tokens)
    ids[start:end] = torch.tensor(tokens, dtype=torch.long)
    positions[start:end] = torch.arange(first_position, first_position + len(tokens))
    segments[start:end] = segment
    return end
