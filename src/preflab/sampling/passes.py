"""Forward passes of the decode loop: how a model is fed, found out once per model by comparing logits.

Three ways, the first that reproduces the model's own uncached logits is used: with preflab's cache and a mask made
here; with the cache and the model's own mask; without a cache, every step from the start (slow, and said so).
U distinct prompts, B rows, P longest prompt, V vocabulary.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from preflab.sampling.cache import RowCache

logger = logging.getLogger(__name__)

# What a model raises when it cannot be fed in a way: a cache it does not know, an argument it does not take.
UNFIT = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, AssertionError)


class CachedPass:
    """Prefill and single steps with a `RowCache`; prompts are left-padded, so that all end in the last column."""

    pads = True

    def __init__(self, model: PreTrainedModel, pad_id: int, *, own_mask: bool) -> None:
        self.model, self.pad_id, self.own_mask = model, pad_id, own_mask
        self.takes = set(inspect.signature(model.forward).parameters)

    def start(self, prompts: Sequence[tuple[int, ...]], rows: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after the prompts; row b continues prompts[rows[b]]."""
        device = rows.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        width = int(lengths.max())
        ids = [(self.pad_id,) * (width - len(prompt)) + prompt for prompt in prompts]
        self.padding = width - lengths
        self.padded = bool(self.padding.any())
        self.cache = RowCache()
        positions = (torch.arange(width, device=device) - self.padding[:, None]).clamp_min(0)
        logits = self._forward(torch.tensor(ids, device=device), positions)
        self.cache.expand(rows)
        self.padding, self.next_positions = self.padding[rows], lengths[rows]
        return logits[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after one more token (B,) per row."""
        positions = self.next_positions[:, None]
        self.next_positions = self.next_positions + 1
        return self._forward(tokens[:, None], positions)

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Rows `sources` take the places `targets`; the first `num_rows` are kept."""
        self.cache.move_rows(sources, targets, num_rows)
        self.padding = moved(self.padding, sources, targets, num_rows)
        self.next_positions = moved(self.next_positions, sources, targets, num_rows)

    def release(self) -> None:
        """Let go of the cache: a loop that learns between two samplings needs the memory."""
        self.cache = RowCache()

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        arguments: dict[str, Any] = {"input_ids": ids, "past_key_values": self.cache, "use_cache": True}
        if self.padded:
            arguments["attention_mask"] = self._mask(ids.shape[1])
        if "position_ids" in self.takes:
            arguments["position_ids"] = positions
        if "logits_to_keep" in self.takes:
            arguments["logits_to_keep"] = 1
        return self.model(**arguments).logits[:, -1]

    def _mask(self, num_new: int) -> torch.Tensor:
        """(B, keys) for the model to make its own of, or ready-made (B, 1, new, keys): True = may be looked at."""
        device = self.padding.device
        num_keys = self.cache.get_seq_length() + num_new
        keys = torch.arange(num_keys, device=device)
        real = keys >= self.padding[:, None]
        if not self.own_mask:
            return real.long()
        if num_new == 1:
            return real[:, None, None]
        queries = torch.arange(num_keys - num_new, num_keys, device=device)
        # A padding token looks at itself, so that no row of the softmax is empty.
        return ((keys <= queries[:, None]) & real[:, None] | (keys == queries[:, None]))[:, None]


class PlainPass:
    """The whole sequence at every step, without cache, padding or mask: right for any causal model."""

    pads = False

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def start(self, prompts: Sequence[tuple[int, ...]], rows: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after prompts of one length; row b continues prompts[rows[b]]."""
        self.ids = torch.tensor(prompts, device=rows.device)
        logits = self._forward()[rows]
        self.ids = self.ids[rows]
        return logits

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after one more token (B,) per row."""
        self.ids = torch.cat([self.ids, tokens[:, None]], dim=1)
        return self._forward()

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Rows `sources` take the places `targets`; the first `num_rows` are kept."""
        self.ids = moved(self.ids, sources, targets, num_rows)

    def release(self) -> None:
        """Let go of the sequences."""
        self.ids = self.ids[:0]

    def _forward(self) -> torch.Tensor:
        return self.model(input_ids=self.ids, use_cache=False).logits[:, -1]


def moved(tensor: torch.Tensor, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> torch.Tensor:
    """The first `num_rows` rows after rows `sources` were written over rows `targets`."""
    tensor = tensor.clone()
    tensor[targets] = tensor[sources]
    return tensor[:num_rows]


Pass = CachedPass | PlainPass


def fitting_pass(model: PreTrainedModel, pad_id: int) -> Pass:
    """The fastest way of feeding this model that gives its own logits on a short padded batch; said when it is slow."""
    ways = [CachedPass(model, pad_id, own_mask=True)] if _all_layers_see_everything(model) else []
    for way in (*ways, CachedPass(model, pad_id, own_mask=False)):
        if _reproduces(way, model):
            return way
    logger.warning(
        "%s does not work with preflab's cache: every step goes through the whole sequence, which is slow",
        type(model).__name__,
    )
    return PlainPass(model)


def _all_layers_see_everything(model: PreTrainedModel) -> bool:
    """False when some layers look at a window or a chunk only: one ready-made mask for all would be wrong there."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windows = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return kinds == {"full_attention"} and not any(windows)


def _reproduces(way: CachedPass, model: PreTrainedModel) -> bool:
    """Two prompts of different length, three rows, three tokens each: the same logits as without cache and padding?"""
    size = model.config.get_text_config().vocab_size
    ids = torch.randint(size, (3, 8), generator=torch.Generator().manual_seed(0)).tolist()
    prompts, rows = [tuple(ids[0][:5]), tuple(ids[1][:3])], [0, 1, 0]
    try:
        logits = [way.start(prompts, torch.tensor(rows, device=model.device))]
        for t in range(2):
            tokens = torch.tensor([ids[row][5 + t] for row in range(3)], device=model.device)
            logits.append(way.step(tokens))
    except UNFIT as error:
        logger.info("%s cannot be fed with %s: %s", type(model).__name__, type(way).__name__, error)
        return False
    expected = [
        model(input_ids=torch.tensor([prompts[r] + tuple(ids[b][5:7])], device=model.device), use_cache=False)
        .logits[0, len(prompts[r]) - 1 :]
        .float()
        for b, r in enumerate(rows)
    ]
    difference = (torch.stack(logits, 1).float() - torch.stack(expected)).abs().mean()
    allowed = 1e-4 if model.dtype == torch.float32 else 5e-2
    return bool(difference <= allowed * torch.stack(expected).std())
