"""The cache of the decode loop: room for what is to come, rows shared, moved and dropped.

Keys and values lie in preflab's own layers, which grow in place. What else a model keeps between tokens (the states of
recurrent and convolutional layers, compressed or indexed keys) stays in the layers that transformers makes for it, and
its rows are moved here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

ROOM = 256  # tokens by which a layer grows

ROW_DIMENSION = {"indexer_position_ids": 1}
"""Where a tensor of a cache has its rows, if not in its first dimension."""


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

    def expand(self, rows: torch.Tensor) -> None:
        """Row i becomes a copy of row rows[i]."""
        if self.is_initialized:
            self.make_room(self.num_tokens, rows)

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Write rows `sources` over rows `targets` and keep the first `num_rows`."""
        if not self.is_initialized:
            return
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
    """A `RowLayer` wherever a model keeps keys and values alone, transformers' own layer for anything else.

    Args:
        config: the model's configuration, which says what each layer keeps; None, or one that transformers cannot
            read layers from: keys and values in all of them.
    """

    def __init__(self, config: Any = None) -> None:
        layers = _layers(config)
        if all(isinstance(layer, RowLayer) for layer in layers):
            super().__init__(layer_class_to_replicate=RowLayer)  # made as the model asks for them
        else:
            super().__init__(layers=layers)
        self.num_rows = self.num_tokens = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that rows had before this pass; recurrent layers do not know it, so the pass notes it here."""
        return super().get_seq_length(layer_idx) if self.has_keys else self.num_tokens

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask has to cover."""
        if self.has_keys:
            return super().get_mask_sizes(query_length, layer_idx)
        return self.num_tokens + query_length, 0

    @property
    def has_states(self) -> bool:
        """Whether some layers keep something else than keys and values of every token, or nothing at all."""
        return any(not isinstance(layer, RowLayer) and type(layer).__name__ != "DummyLayer" for layer in self.layers)

    @property
    def has_keys(self) -> bool:
        """Whether some layers keep keys and values: a model of recurrent layers alone takes no mask while it writes."""
        return not self.layers or any(isinstance(layer, CacheLayerMixin) for layer in self.layers)

    def expand(self, rows: torch.Tensor, num_rows: int) -> None:
        """Row i becomes a copy of row rows[i] of the `num_rows`: a prompt's prefill shared by its completions."""
        for layer in self.layers:
            if isinstance(layer, RowLayer):
                layer.expand(rows)
            else:
                select_rows(layer, rows, num_rows)
        self.num_rows = len(rows)

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """See `RowLayer.move_rows`."""
        for layer in self.layers:
            if isinstance(layer, RowLayer):
                layer.move_rows(sources, targets, num_rows)
            else:
                select_rows(layer, moved_places(sources, targets, num_rows), self.num_rows)
        self.num_rows = num_rows


def _layers(config: Any) -> Sequence[Any]:
    """What transformers keeps for each layer, with preflab's own layers for keys and values of every token."""
    if config is None:
        return []
    try:
        made = DynamicCache(config=config).layers
    except (TypeError, ValueError, AttributeError, KeyError):
        return []
    return [RowLayer() if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) else layer for layer in made]


def moved_places(sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> torch.Tensor:
    """(num_rows,) the row that each of the first rows is taken from once `sources` stand in the places `targets`."""
    places = torch.arange(num_rows, device=sources.device)
    places[targets] = sources
    return places


def select_rows(holder: Any, rows: torch.Tensor, num_rows: int) -> Any:
    """What holds states of `num_rows` rows, with row rows[i] in place of row i; objects and dictionaries are changed.

    Walks through lists, dictionaries and transformers' own objects. Tensors of fewer than two dimensions are counters.

    Raises:
        ValueError: a tensor has another number of rows, so that nobody can say what it holds.
    """
    if isinstance(holder, torch.Tensor):
        return _selected(holder, rows, num_rows, 0)
    if isinstance(holder, list | tuple):
        return type(holder)(select_rows(one, rows, num_rows) for one in holder)
    content = holder if isinstance(holder, dict) else _attributes(holder)
    for name, value in content.items():
        if isinstance(value, torch.Tensor):
            content[name] = _selected(value, rows, num_rows, ROW_DIMENSION.get(name, 0))
        else:
            content[name] = select_rows(value, rows, num_rows)
    return holder


def _attributes(holder: Any) -> dict[Any, Any]:
    """The attributes of a cache or of one of its layers; none of anything else, a model's weights above all."""
    known = type(holder).__module__.startswith(("transformers.cache_utils", "transformers.models."))
    return vars(holder) if known and not isinstance(holder, PreTrainedConfig | torch.nn.Module) else {}


def _selected(states: torch.Tensor, rows: torch.Tensor, num_rows: int, dimension: int) -> torch.Tensor:
    if states.ndim < 2:
        return states
    if states.shape[dimension] != num_rows:
        raise ValueError(f"a state of shape {tuple(states.shape)} does not hold {num_rows} rows")
    return states.index_select(dimension, rows)
