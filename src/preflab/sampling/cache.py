"""The key–value cache of the decode loop: room for what is to come, rows shared, moved and dropped in place."""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

ROOM = 256  # tokens by which a layer grows


class RowLayer(CacheLayerMixin):
    """Keys and values of one layer, (rows, heads, tokens, dimension), in buffers with room to spare.

    Nothing is concatenated per step. A layer with a sliding window keeps everything too: the model's mask narrows it.
    """

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.num_rows = self.num_tokens = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """The first call of a forward pass."""
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.dtype, self.device = key_states.dtype, key_states.device
        self.num_rows = key_states.shape[0]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the states of new tokens; return those of all tokens, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.num_tokens, self.num_tokens + key_states.shape[2]
        if end > self.keys.shape[2]:
            self.make_room(end)
        self.keys[: self.num_rows, :, start:end] = key_states
        self.values[: self.num_rows, :, start:end] = value_states
        self.num_tokens = end
        return self.keys[: self.num_rows, :, :end], self.values[: self.num_rows, :, :end]

    def make_room(self, num_tokens: int, rows: torch.Tensor | None = None) -> None:
        """Move into larger buffers; with `rows`, buffer row i becomes a copy of row rows[i]."""
        self.keys = self._moved(self.keys, num_tokens, rows)
        self.values = self._moved(self.values, num_tokens, rows)
        self.num_rows = self.keys.shape[0]

    def _moved(self, states: torch.Tensor, num_tokens: int, rows: torch.Tensor | None) -> torch.Tensor:
        old = states[: self.num_rows, :, : self.num_tokens]
        num_rows = old.shape[0] if rows is None else len(rows)
        new = states.new_empty(num_rows, states.shape[1], num_tokens + ROOM, states.shape[3])
        new[:, :, : self.num_tokens] = old if rows is None else old[rows]
        return new

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Write rows `sources` over rows `targets` and keep the first `num_rows`."""
        for states in (self.keys, self.values):
            states[targets, :, : self.num_tokens] = states[sources, :, : self.num_tokens]
        self.num_rows = num_rows

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask has to cover."""
        return self.num_tokens + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self.num_tokens

    def get_max_length(self) -> int:
        """No limit."""
        return -1


class RowCache(Cache):
    """One `RowLayer` per layer, made as the model asks for them."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=RowLayer)

    def expand(self, rows: torch.Tensor) -> None:
        """Row i becomes a copy of row rows[i]: a prompt's prefill shared by its completions."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.make_room(layer.num_tokens, rows)

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """See `RowLayer.move_rows`."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.move_rows(sources, targets, num_rows)
