"""The cache of the decode loop, which can grow and whose rows can be shared, moved and dropped.

Keys and values are stored in preflab's own layers, which grow in place. Other states that a model keeps between tokens
(of recurrent and convolutional layers, compressed or indexed keys) stay in transformers' layers; this module only moves
their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

ROOM = 256  # extra tokens that a layer allocates when it grows

ROW_DIMENSION = {"indexer_position_ids": 1}
"""Name of a cache's tensor → the dimension of its rows, if that is not the first."""


class RowLayer(CacheLayerMixin):
    """Keys and values of one layer, (rows, heads, tokens, dimension), in buffers with spare capacity.

    A step does not concatenate tensors. A layer with a sliding window also keeps all tokens; the model's mask applies
    the window.
    """

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.num_rows = self.num_tokens = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take type, device and shapes from the first states; `update` calls it once."""
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.dtype, self.device = key_states.dtype, key_states.device
        self.num_rows = key_states.shape[0]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the states of new tokens; return the keys and values of all tokens, as views."""
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
        """Copy the states into larger buffers; with `rows`, row i of the new buffers is a copy of row rows[i]."""
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
        """Replace the rows: the new row i is a copy of row rows[i]."""
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
        """Number of tokens in the cache."""
        return self.num_tokens

    def get_max_length(self) -> int:
        """-1, which means no limit."""
        return -1


class RowCache(Cache):
    """A cache with a `RowLayer` for each layer that keeps only keys and values, else with transformers' own layer.

    Args:
        config: the model's configuration, which defines what each layer keeps. If it is None, or transformers cannot
            derive layers from it, every layer keeps keys and values.
    """

    def __init__(self, config: Any = None) -> None:
        layers = _layers(config)
        if all(isinstance(layer, RowLayer) for layer in layers):
            super().__init__(layer_class_to_replicate=RowLayer)  # layers are created when the model first uses them
        else:
            super().__init__(layers=layers)
        self.num_rows = self.num_tokens = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens that rows had before this pass.

        Recurrent layers do not count tokens, so for models with no other layers the pass sets `num_tokens`.
        """
        return super().get_seq_length(layer_idx) if self.has_keys else self.num_tokens

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask has to cover."""
        if self.has_keys:
            return super().get_mask_sizes(query_length, layer_idx)
        return self.num_tokens + query_length, 0

    @property
    def has_states(self) -> bool:
        """Whether some layers keep other states than keys and values of every token."""
        return any(not isinstance(layer, RowLayer) and type(layer).__name__ != "DummyLayer" for layer in self.layers)

    @property
    def has_keys(self) -> bool:
        """Whether some layers keep keys and values. A purely recurrent model takes no mask after the prompt."""
        return not self.layers or any(isinstance(layer, CacheLayerMixin) for layer in self.layers)

    def expand(self, rows: torch.Tensor, num_rows: int) -> None:
        """Replace the `num_rows` rows: the new row i is a copy of row rows[i].

        After the prefill, this gives each completion a copy of its prompt's states.
        """
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
    """transformers' cache layers for a configuration, with `RowLayer` for those that keep keys and values."""
    if config is None:
        return []
    try:
        made = DynamicCache(config=config).layers
    except (TypeError, ValueError, AttributeError, KeyError):
        return []
    return [RowLayer() if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) else layer for layer in made]


def moved_places(sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> torch.Tensor:
    """(num_rows,) for each place, the row to copy into it, so that rows `sources` move to places `targets`."""
    places = torch.arange(num_rows, device=sources.device)
    places[targets] = sources
    return places


def select_rows(holder: Any, rows: torch.Tensor, num_rows: int) -> Any:
    """Select rows in all states of `num_rows` rows inside `holder`: the new row i is row rows[i].

    Searches lists, dictionaries and transformers' cache objects. Objects and dictionaries are changed in place; for
    tensors and lists a new one is returned. Tensors of fewer than two dimensions are counters and do not change.

    Raises:
        ValueError: a tensor does not have `num_rows` rows, so its layout is unknown.
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
    """The attributes of a cache or of one of its layers; {} for any other object, such as a model with its weights."""
    known = type(holder).__module__.startswith(("transformers.cache_utils", "transformers.models."))
    return vars(holder) if known and not isinstance(holder, PreTrainedConfig | torch.nn.Module) else {}


def _selected(states: torch.Tensor, rows: torch.Tensor, num_rows: int, dimension: int) -> torch.Tensor:
    if states.ndim < 2:
        return states
    if states.shape[dimension] != num_rows:
        raise ValueError(f"a state of shape {tuple(states.shape)} does not have {num_rows} rows")
    return states.index_select(dimension, rows)
