"""Steps of the decode loop over fixed buffers for encoder–decoders (see `static_pass`).

U distinct prompts, B rows; R rows, K keys and P prompt tokens of the bucket; V vocabulary, H hidden. Keys and values of
cross-attention are held once per row here, because the grouping of a prompt's rows changes when rows end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from preflab.models.cross_attention import additive_mask
from preflab.models.decoder_tokens import decoder_tokens
from preflab.models.encoded_prompts import EncoderStates
from preflab.sampling.buckets import Buckets
from preflab.sampling.cache import RowCache, moved_places
from preflab.sampling.encoder_decoder_pass import EncoderDecoderPass
from preflab.sampling.static_cache import StaticCache


class StaticEncoderDecoderPass:
    """Decodes an encoder–decoder with fixed buffers.

    Args:
        prefill: the pass that reads the prompts and the start tokens.
        buckets: the sizes of steps.
    """

    pads = True

    def __init__(self, prefill: EncoderDecoderPass, buckets: Buckets) -> None:
        self.prefill, self.buckets, self.model = prefill, buckets, prefill.model
        self.made = object()  # another object each time that the buffers are allocated
        self.room = 16  # new tokens to make room for; the sampler sets it before each batch
        self.num_seen = self.num_live = self.num_read = 0
        self.written: StaticCache | None = None
        self.crossed: list[tuple[Tensor, Tensor]] = []
        self.shown: dict[tuple[int, int], DynamicCache] = {}  # made once, because a graph cannot hold their making
        self._capacity = (0, 0, 0)

    @property
    def name(self) -> str:
        """The name of the way in the table of `preflab check`."""
        return "cache, cross-attention per completion, fixed buffers"

    @property
    def size(self) -> tuple[int, ...]:
        """R, K and P of the next step."""
        return self.buckets.num_rows(self.num_live), self.buckets.num_keys(self.num_seen + 1), self.num_read

    def start(self, prompts: Sequence[tuple[int, ...]], rows: Tensor) -> Tensor:
        """(B, V) logits after the start tokens; row b answers prompts[rows[b]]."""
        logits = self.prefill.start(prompts, torch.arange(len(prompts), device=rows.device))
        num_rows, width = self.buckets.num_rows(len(rows)), max(map(len, prompts))
        self.num_live, self.num_seen = len(rows), self.prefill.written.get_seq_length()
        self.num_read = self.buckets.num_keys(width)
        filled = torch.cat([rows, rows.new_zeros(num_rows - len(rows))])
        self._reserve(num_rows, self.buckets.num_keys(self.num_seen + self.room), self.num_read)
        self._written().fill(self._prefilled(), filled)
        for buffers, layer in zip(self.crossed, self.prefill.read.layers, strict=True):
            for buffer, states in zip(buffers, (layer.keys, layer.values), strict=True):
                buffer[:num_rows, :, :width] = states[filled]
                buffer[:num_rows, :, width:].zero_()
        self.mask.zero_()
        self.mask[:num_rows, :width] = self.prefill.mask[filled]
        self.place.fill_(self.num_seen)
        self.prefill.release()
        return logits[rows]

    def _prefilled(self) -> RowCache:
        if not isinstance(self.prefill.written, RowCache):
            raise TypeError("a decoder's cache without rows")
        return self.prefill.written

    def _reserve(self, *wanted: int) -> None:
        """Allocate buffers, unless those of an earlier batch are large enough."""
        enough = all(have >= want for have, want in zip(self._capacity, wanted, strict=True))
        if self.written is not None and enough and self.written.fits(self._prefilled()):
            return
        self._capacity = num_rows, num_keys, num_read = tuple(map(max, wanted, self._capacity))  # type: ignore[assignment]
        mask, read = self.prefill.mask, self.prefill.read.layers
        self.made = object()
        self.place = torch.zeros((), dtype=torch.long, device=mask.device)
        self.columns = torch.arange(num_keys, device=mask.device)
        self.tokens = torch.zeros(num_rows, dtype=torch.long, device=mask.device)
        self.mask = torch.zeros(num_rows, num_read, dtype=mask.dtype, device=mask.device)
        # The decoder looks at the shape of the encoder states only: their keys and values are in the cache.
        self.encoded = self.prefill.encoded.new_zeros(1, 1, 1).expand(num_rows, num_read, -1)
        self.width = self.prefill.encoded.shape[2]
        self.written = StaticCache(self._prefilled(), num_rows, num_keys, self.place)
        self.crossed = [
            (self._room(layer.keys, num_rows, num_read), self._room(layer.values, num_rows, num_read)) for layer in read
        ]
        self.shown = {}

    @staticmethod
    def _room(states: Tensor, num_rows: int, num_read: int) -> Tensor:
        return states.new_zeros(num_rows, states.shape[1], num_read, states.shape[3])

    def _written(self) -> StaticCache:
        if self.written is None:
            raise RuntimeError("a step before the prompts were read")
        return self.written

    def run(self, *size: int) -> Tensor:
        """(R, V) logits after the tokens in `tokens`. The column is counted up on the device."""
        num_rows, num_keys, num_read = size
        written = self._written()
        written.show(num_rows, num_keys)
        encoded = self.encoded[:num_rows, :num_read].expand(-1, -1, self.width)
        mask = additive_mask(self.mask[:num_rows, :num_read], encoded.dtype)
        arguments: dict[str, Any] = {
            "encoder_outputs": EncoderStates(last_hidden_state=encoded),
            "attention_mask": mask,
            "decoder_attention_mask": (self.columns[:num_keys] <= self.place).long().expand(num_rows, -1),
            **decoder_tokens(self.model, self.tokens[:num_rows, None], "decoder_"),
            "past_key_values": EncoderDecoderCache(written, self._shown(num_rows, num_read)),
            "use_cache": True,
        }
        logits = self.model(**arguments).logits[:, -1]
        self.place += 1
        return logits

    def _shown(self, num_rows: int, num_read: int) -> DynamicCache:
        """Keys and values of cross-attention for the rows and prompt tokens of the bucket, marked as computed."""
        if (num_rows, num_read) not in self.shown:
            self.shown[num_rows, num_read] = DynamicCache()
            for number, buffers in enumerate(self.crossed):
                views = (buffer[:num_rows, :, :num_read] for buffer in buffers)
                self.shown[num_rows, num_read].update(*(view[:, :, :0] for view in buffers), number)
                layer = self.shown[num_rows, num_read].layers[number]
                layer.keys, layer.values = views
        return self.shown[num_rows, num_read]

    def advance(self) -> None:
        """Tell the host that a step has been run."""
        self.num_seen += 1

    def keep(self, rows: Tensor, num_live: int) -> None:
        """Row i becomes a copy of row rows[i]; `num_live` of them are decoded on, the others fill the bucket."""
        self._written().keep(rows, self.num_seen)
        for tensor in (self.tokens, self.mask, *(buffer for buffers in self.crossed for buffer in buffers)):
            tensor[: len(rows)] = tensor.index_select(0, rows)
        self.num_live = num_live

    def step(self, tokens: Tensor) -> Tensor:
        """(B, V) logits after one more token (B,) per row."""
        self.tokens[: len(tokens)] = tokens
        logits = self.run(*self.size)
        self.advance()
        return logits[: len(tokens)]

    def move_rows(self, sources: Tensor, targets: Tensor, num_rows: int) -> None:
        """Copy rows `sources` over rows `targets`, then keep the first `num_rows` rows."""
        places = moved_places(sources, targets, num_rows)
        filler = places.new_zeros(self.buckets.num_rows(num_rows) - num_rows)
        self.keep(torch.cat([places, filler]), num_rows)

    def release(self) -> None:
        """Free the buffers."""
        self.written, self.crossed, self.shown, self._capacity = None, [], {}, (0, 0, 0)
        self.prefill.release()
