"""Prompts with completions as token ids, and batches of them within a token budget.

In shapes, B is the number of sequences, T the completion tokens of the longest, L the states of a row. The model's
family (`models.families`) decides how a prompt and its completion are arranged: a decoder reads both in one row
(`training.joined_rows`). Losses use `completion_mask`, never the padding id, because the padding token may be the end
token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch

from preflab.training.kept_tokens import KeptTokens
from preflab.training.transfers import to_device

UNREAD = -2
"""`TokenBatch.largest_id` before the ids were read; the places of tokens are found then too."""


@dataclass(frozen=True)
class TokenSequence:
    """One prompt with one completion, as token ids."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    policy_tokens: tuple[bool, ...] | None = None
    """Per completion token, True = the policy wrote it; None = the policy wrote all."""
    kept: KeptTokens | None = field(default=None, compare=False, repr=False)
    """The ids that each token of the policy was drawn from, if sampling was truncated; None: from all ids."""

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class TokenBatch(ABC):
    """B sequences in the layout of one model family. Properties map tokens to positions in the states (rows, L, H)."""

    lengths: torch.Tensor
    """(B,) number of tokens of prompt and completion."""
    completion_ids: torch.Tensor
    """(B, T) long, 0 where there is no token."""
    completion_mask: torch.Tensor
    """(B, T) bool, True = a token the policy wrote."""
    kept: KeptTokens | None = field(default=None, kw_only=True)
    """The ids that each of the policy's tokens was drawn from, row by row; None: from all ids."""
    token_places: torch.Tensor = field(default=None, kw_only=True)  # type: ignore[assignment]
    """(N,) long: places of the policy's tokens in a flattened (B, T) tensor, ascending. Made with the batch on the CPU:
    to select by the mask on a GPU, the host would wait for the number of tokens."""
    largest_id: int = field(default=UNREAD, kw_only=True)
    """The largest id among the policy's tokens; −1 without tokens. It is read on the CPU as well."""

    def __post_init__(self) -> None:
        if self.largest_id == UNREAD:
            places = self.completion_mask.flatten().nonzero()[:, 0]
            object.__setattr__(self, "token_places", places)
            largest = int(self.completion_ids.flatten()[places].max()) if len(places) else -1
            object.__setattr__(self, "largest_id", largest)

    @property
    def token_sequences(self) -> torch.Tensor:
        """(N,) which of the B sequences each of the policy's tokens belongs to."""
        return self.token_places // self.completion_mask.shape[1]

    def of_tokens(self, values: torch.Tensor) -> torch.Tensor:
        """(N,) entries of a (B, T) tensor at the policy's tokens; the same as `values[completion_mask]`."""
        return values.flatten()[self.token_places]

    @property
    @abstractmethod
    def state_mask(self) -> torch.Tensor:
        """(rows, L) bool, True = the state of a real token."""

    @property
    @abstractmethod
    def token_rows(self) -> torch.Tensor:
        """(N,) row of each completion token that the policy wrote."""

    @property
    @abstractmethod
    def state_index(self) -> torch.Tensor:
        """(B, T) position in its row of the state that predicts each completion token and gives its value."""

    @property
    @abstractmethod
    def last_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) row and (B,) position of the state after each sequence's last token."""

    @abstractmethod
    def model_inputs(self, dtype: torch.dtype) -> dict[str, Any]:
        """Keyword arguments of the model's forward pass; `dtype` is the type in which it computes."""

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            n: to_device(v, device) if isinstance(v, torch.Tensor) else v for n, v in values.items()
        }
        moved["kept"] = None if self.kept is None else self.kept.to(device)
        return type(self)(**moved)


Collate = Callable[[Sequence[TokenSequence]], TokenBatch]
"""Sequences → a batch on the model's device, such as `Trunk.collate`."""


def padded_floats(rows: Sequence[Sequence[float]], num_tokens: int) -> torch.Tensor:
    """(B, num_tokens) float32 from rows of differing lengths, padded with 0 on the right."""
    return padded(rows, 0.0, num_tokens).float()


def token_budget_batches(lengths: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Index lists whose padded size (rows × longest row) stays within the budget, longest rows first.

    A row longer than the budget has its own batch. Rows are sorted by length to keep padding small.

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


def whole_group_batches(sizes: Sequence[tuple[int, int]], tokens_per_batch: int) -> list[list[int]]:
    """Index lists of whole groups of rows whose padded size (rows × longest row) stays within the budget.

    `sizes` has (number of rows, tokens of the longest row) of each group. A group larger than the budget has its own
    batch. Groups are sorted by their longest row to keep padding small.

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


def padded(rows: Sequence[Sequence[float]], fill: float, width: int | None = None) -> torch.Tensor:
    """(B, width) tensor from rows of differing lengths, padded on the right; width None: that of the longest row."""
    width = width if width is not None else max(len(row) for row in rows)
    return torch.tensor([list(row) + [fill] * (width - len(row)) for row in rows])


def padded_completions(sequences: Sequence[TokenSequence]) -> dict[str, Any]:
    """The fields that batches of every layout have: `lengths`, `completion_ids`, `completion_mask` and `kept`."""
    num_tokens = max(len(s.completion_ids) for s in sequences)
    written = [s.policy_tokens or (True,) * len(s.completion_ids) for s in sequences]
    kept = [s.kept for s in sequences if s.kept is not None]
    return {
        "lengths": torch.tensor([len(s) for s in sequences]),
        "completion_ids": padded([s.completion_ids for s in sequences], 0, num_tokens),
        "completion_mask": padded(written, False, num_tokens).bool(),
        "kept": KeptTokens.joined(kept) if len(kept) == len(sequences) else None,
    }
