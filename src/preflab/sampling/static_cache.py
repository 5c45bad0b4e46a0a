"""A cache of the decode loop in buffers whose addresses and sizes do not change, so that a step can be captured.

R rows and K keys are those of the step's bucket; the buffers hold the largest of both. A step of a smaller bucket works
on views of the same buffers, so a change of bucket copies nothing, and retirement moves only the rows that stay.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionLayer,
)

from preflab.sampling.cache import RowCache, RowLayer


class StaticRowLayer(CacheLayerMixin):
    """Keys and values of one layer, (rows, heads, keys, dimension). A new token is written to the column `place`.

    A layer with a sliding window also keeps all tokens; the model's mask applies the window.
    """

    is_sliding = False
    is_compileable = True  # transformers then makes every mask, instead of leaving one out after it has looked at it

    def __init__(self, place: Tensor) -> None:
        super().__init__()
        self.place = place
        self.buffers: tuple[Tensor, Tensor] | None = None
        self.num_keys = 0

    def reserve(self, like: Any, num_rows: int, num_keys: int) -> None:
        """Allocate buffers for states like those of a filled layer. They are zero: masked keys have to be finite."""
        self.dtype, self.device = like.keys.dtype, like.keys.device
        shapes = [(num_rows, states.shape[1], num_keys, states.shape[3]) for states in (like.keys, like.values)]
        keys, values = (torch.zeros(shape, dtype=self.dtype, device=self.device) for shape in shapes)
        self.buffers, self.is_initialized = (keys, values), True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Raises RuntimeError: a layer that the prompts did not fill has no buffers."""
        raise RuntimeError("a layer of the cache is used by a step, but not by the prompts before it")

    def fill(self, filled: Any, rows: Tensor) -> None:
        """Copy the states of prompts: row i gets those of the prompt rows[i].

        The other columns become zero: an earlier batch may have left numbers there that are not finite.
        """
        num_tokens = filled.get_seq_length()
        for buffer, states in zip(self._tensors(), (filled.keys, filled.values), strict=True):
            buffer[: len(rows), :, :num_tokens] = states[:, :, :num_tokens][rows]
            buffer[: len(rows), :, num_tokens:].zero_()

    def show(self, num_rows: int, num_keys: int) -> None:
        """Work on the first rows and keys."""
        self.num_keys = num_keys
        if self.buffers is not None:
            self.keys, self.values = (buffer[:num_rows, :, :num_keys] for buffer in self.buffers)

    def keep(self, rows: Tensor, num_keys: int) -> None:
        """Row i becomes a copy of row rows[i], of which the first keys are in use."""
        for buffer in self._tensors():
            buffer[: len(rows), :, :num_keys] = buffer[:, :, :num_keys].index_select(0, rows)

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.buffers or ()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token per row to its column; return all keys and values of the bucket."""
        if self.buffers is None:
            self.lazy_initialization(key_states, value_states)
        column = self.place.view(1)
        self.keys.index_copy_(2, column, key_states.to(self.dtype))
        self.values.index_copy_(2, column, value_states.to(self.dtype))
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask has to cover."""
        return self.num_keys, 0

    def get_seq_length(self) -> Any:
        """The number of tokens before this step, as a tensor (), because it changes between two runs of a step."""
        return self.place

    def get_max_length(self) -> int:
        """-1, which means no limit."""
        return -1


class StaticStates:
    """The states of a layer without keys (convolutional, recurrent), in buffers. The model writes to `layer`.

    Args:
        filled: the layer after the prompts.
        num_rows: rows of the buffers.
        layer: the layer that the model writes to; None: a copy of `filled`.
    """

    def __init__(self, filled: LinearAttentionLayer, num_rows: int, layer: Any = None) -> None:
        self.layer = layer if layer is not None else copy.copy(filled)
        for name, states in _states(filled):
            setattr(self.layer, name, dict(states))
        self.buffers = {
            (name, number): state.new_zeros(num_rows, *state.shape[1:])
            for name, states in _states(filled)
            for number, state in states.items()
            if state is not None
        }

    def fill(self, filled: LinearAttentionLayer, rows: Tensor) -> None:
        """Copy the states after the prompts: row i gets those of the prompt rows[i]."""
        for name, states in _states(filled):
            for number, state in states.items():
                if state is not None:
                    self.buffers[name, number][: len(rows)] = state[rows]

    def show(self, num_rows: int, num_keys: int) -> None:
        """Work on the first rows."""
        for (name, number), buffer in self.buffers.items():
            getattr(self.layer, name)[number] = buffer[:num_rows]

    def keep(self, rows: Tensor, num_keys: int) -> None:
        """Row i becomes a copy of row rows[i]."""
        for buffer in self.buffers.values():
            buffer[: len(rows)] = buffer.index_select(0, rows)


class StaticMixedLayer(LinearAttentionLayer, StaticRowLayer):
    """A layer that keeps states and also keys and values, or one of both."""

    is_compileable = True

    def __init__(self, filled: LinearAttentionAndFullAttentionLayer, num_rows: int, num_keys: int, place: Tensor):
        StaticRowLayer.__init__(self, place)
        self.__dict__.update({name: value for name, value in vars(filled).items() if name not in ("keys", "values")})
        self.is_initialized = False
        if _has_keys(filled):
            self.reserve(filled, num_rows, num_keys)
        self.kept = StaticStates(filled, num_rows, self)

    def fill(self, filled: Any, rows: Tensor) -> None:
        """Copy keys, values and states after the prompts: row i gets those of the prompt rows[i]."""
        if _has_keys(filled):
            StaticRowLayer.fill(self, filled, rows)
        self.kept.fill(filled, rows)

    def show(self, num_rows: int, num_keys: int) -> None:
        """Work on the first rows and keys."""
        StaticRowLayer.show(self, num_rows, num_keys)
        self.kept.show(num_rows, num_keys)

    def keep(self, rows: Tensor, num_keys: int) -> None:
        """Row i becomes a copy of row rows[i], of which the first keys are in use."""
        StaticRowLayer.keep(self, rows, num_keys)
        self.kept.keep(rows, num_keys)


def _states(layer: LinearAttentionLayer) -> Iterator[tuple[str, dict[int, Tensor | None]]]:
    for name in ("conv_states", "recurrent_states"):
        yield name, getattr(layer, name)


class StaticCache(Cache):
    """A cache in buffers, for a model that has read its prompts with a `RowCache`.

    Args:
        filled: the cache after the prompts.
        num_rows: the most rows of a step.
        num_keys: the most keys of a row.
        place: () the column of the next token, equal for all rows; the step counts it up.

    Raises:
        ValueError: a layer keeps states of an unknown kind.
    """

    is_compileable = True

    def __init__(self, filled: RowCache, num_rows: int, num_keys: int, place: Tensor) -> None:
        self.place, self.num_keys, self.kinds = place, num_keys, _kinds(filled)
        self.holders: list[StaticRowLayer | StaticStates | None] = [
            _holder(layer, num_rows, num_keys, place) for layer in filled.layers
        ]
        layers = [
            holder.layer if isinstance(holder, StaticStates) else holder or layer
            for holder, layer in zip(self.holders, filled.layers, strict=True)
        ]
        super().__init__(layers=layers)

    def get_seq_length(self, layer_idx: int = 0) -> Any:
        """The number of tokens before this step, as a tensor ()."""
        return self.place

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask has to cover."""
        return self.num_keys, 0

    @property
    def has_keys(self) -> bool:
        """Whether some layers keep keys and values. A purely recurrent model takes no mask after the prompt."""
        return any(isinstance(holder, StaticRowLayer) for holder in self.holders)

    def fits(self, filled: RowCache) -> bool:
        """Whether the layers are like those that the buffers were made for, so that they can be filled again."""
        return _kinds(filled) == self.kinds

    def fill(self, filled: RowCache, rows: Tensor) -> None:
        """Copy the states after the prompts: row i gets those of the prompt rows[i]."""
        for holder, layer in zip(self.holders, filled.layers, strict=True):
            unused = isinstance(layer, RowLayer) and not _has_keys(layer)
            if holder is not None and not unused:
                holder.fill(layer, rows)

    def show(self, num_rows: int, num_keys: int) -> None:
        """Work on the first rows and keys."""
        self.num_keys = num_keys
        for holder in self.holders:
            if holder is not None:
                holder.show(num_rows, num_keys)

    def keep(self, rows: Tensor, num_keys: int) -> None:
        """Row i becomes a copy of row rows[i], of which the first keys are in use.

        A replayed step does not call `show`, so what was shown last says nothing about how many those are.
        """
        for holder in self.holders:
            if holder is not None:
                holder.keep(rows, num_keys)


def _kinds(cache: RowCache) -> list[Any]:
    """Each layer's class, and the shape and type of the states of one row."""
    return [_kind(layer) for layer in cache.layers]


def _kind(layer: Any) -> Any:
    kind: list[Any] = [type(layer)]
    if _has_keys(layer):
        kind += [(states.shape[1], states.shape[3], states.dtype) for states in (layer.keys, layer.values)]
    if isinstance(layer, LinearAttentionLayer):
        states = ((name, n, t) for name, kept in _states(layer) for n, t in kept.items() if t is not None)
        kind += [(name, n, t.shape[1:], t.dtype) for name, n, t in states]
    return kind


def _has_keys(layer: Any) -> bool:
    """Whether keys and values were written; a layer that reads those of another one has none."""
    return getattr(layer, "keys", None) is not None


def _holder(layer: Any, num_rows: int, num_keys: int, place: Tensor) -> StaticRowLayer | StaticStates | None:
    if isinstance(layer, RowLayer):
        static = StaticRowLayer(place)
        if _has_keys(layer):
            static.reserve(layer, num_rows, num_keys)
        return static
    if type(layer) is LinearAttentionAndFullAttentionLayer:
        return StaticMixedLayer(layer, num_rows, num_keys, place)
    if type(layer) is LinearAttentionLayer:
        return StaticStates(layer, num_rows)
    if type(layer).__name__ == "DummyLayer":
        return None
    raise ValueError(f"a cache layer of the kind {type(layer).__name__} has no buffers")
