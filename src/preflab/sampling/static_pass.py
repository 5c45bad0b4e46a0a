"""Steps of the decode loop over fixed buffers: the same operations on the same addresses, token after token.

U distinct prompts, B rows, R rows and K keys of the bucket, P longest prompt, V vocabulary. The prompts are read by a
pass of `sampling.passes`, whose cache is then copied into a `StaticCache`. All rows write to the same column, so one
number on the device says where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from preflab.sampling.buckets import Buckets
from preflab.sampling.cache import moved_places
from preflab.sampling.passes import CachedPass
from preflab.sampling.static_cache import StaticCache


class StaticPass:
    """Decodes a causal model with fixed buffers.

    `run` is the step that can be captured: it reads and writes tensors only. What the host has to know (how many
    tokens were seen, which bucket holds them) changes between the steps.

    Args:
        prefill: the pass that reads the prompts; its way of masking padding is kept.
        buckets: the sizes of steps.
    """

    def __init__(self, prefill: CachedPass, buckets: Buckets) -> None:
        self.prefill, self.buckets = prefill, buckets
        self.model, self.pads = prefill.model, prefill.pads
        self.made = object()  # another object each time that the buffers are allocated
        self.room = 16  # new tokens to make room for; the sampler sets it before each batch
        self.num_seen = self.num_live = 0
        self.cache: StaticCache | None = None
        self._capacity = (0, 0)

    @property
    def name(self) -> str:
        """The name of the way in the table of `preflab check`."""
        return f"{self.prefill.name}, fixed buffers"

    @property
    def size(self) -> tuple[int, ...]:
        """R and K of the next step."""
        return self.buckets.num_rows(self.num_live), self.buckets.num_keys(self.num_seen + 1)

    def start(self, prompts: Sequence[tuple[int, ...]], rows: Tensor) -> Tensor:
        """(B, V) logits after the prompts; row b continues prompts[rows[b]]."""
        logits = self.prefill.start(prompts, torch.arange(len(prompts), device=rows.device))
        self.num_live, self.num_seen = len(rows), self.prefill.num_seen
        size = self.buckets.num_rows(len(rows))
        # Rows without a request continue the first prompt, and nobody reads what they write.
        filled = torch.cat([rows, rows.new_zeros(size - len(rows))])
        self._reserve(size, self.buckets.num_keys(self.num_seen + self.room))
        self._cache().fill(self.prefill.cache, filled)
        self.padding[:size] = self.prefill.padding[filled]
        self.positions[:size] = self.prefill.next_positions[filled]
        self.place.fill_(self.num_seen)
        self.prefill.release()
        return logits[rows]

    def _reserve(self, num_rows: int, num_keys: int) -> None:
        """Allocate buffers, unless those of an earlier batch are large enough."""
        filled, (most_rows, most_keys) = self.prefill.cache, self._capacity
        if self.cache is not None and num_rows <= most_rows and num_keys <= most_keys and self.cache.fits(filled):
            return
        self._capacity = num_rows, num_keys = max(num_rows, most_rows), max(num_keys, most_keys)
        device = self.prefill.padding.device
        self.made = object()
        self.place = torch.zeros((), dtype=torch.long, device=device)
        self.columns = torch.arange(num_keys, device=device)
        self.tokens, self.positions, self.padding = torch.zeros(3, num_rows, dtype=torch.long, device=device)
        self.cache = StaticCache(filled, num_rows, num_keys, self.place)

    def _cache(self) -> StaticCache:
        if self.cache is None:
            raise RuntimeError("a step before the prompts were read")
        return self.cache

    def run(self, *size: int) -> Tensor:
        """(R, V) logits after the tokens in `tokens`. Positions and column are counted up on the device."""
        num_rows, num_keys = size
        cache = self._cache()
        cache.show(num_rows, num_keys)
        logits = self.model(**self._arguments(cache, num_rows, num_keys)).logits[:, -1]
        self.positions[:num_rows] += 1
        self.place += 1
        return logits

    def _arguments(self, cache: StaticCache, num_rows: int, num_keys: int) -> dict[str, Any]:
        takes = self.prefill.takes
        arguments: dict[str, Any] = {"input_ids": self.tokens[:num_rows, None], self.prefill.argument: cache}
        arguments["use_cache"] = True
        if cache.has_keys:
            columns = self.columns[:num_keys]
            real = (columns >= self.padding[:num_rows, None]) & (columns <= self.place)
            arguments["attention_mask"] = real[:, None, None] if self.prefill.mask == "ready-made" else real.long()
        if "position_ids" in takes:
            arguments["position_ids"] = self.positions[:num_rows, None]
        if "logits_to_keep" in takes:
            arguments["logits_to_keep"] = 1
        return arguments

    def advance(self) -> None:
        """Tell the host that a step has been run."""
        self.num_seen += 1

    def keep(self, rows: Tensor, num_live: int) -> None:
        """Row i becomes a copy of row rows[i]; `num_live` of them are decoded on, the others fill the bucket."""
        self._cache().keep(rows, self.num_seen)
        for numbers in (self.tokens, self.positions, self.padding):
            numbers[: len(rows)] = numbers.index_select(0, rows)
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
        self.cache, self._capacity = None, (0, 0)
        self.prefill.release()


def addresses(model: Any) -> tuple[int, ...]:
    """The addresses of a model's weights and buffers. A captured step is worthless once they have moved."""
    return tuple(tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers()))
