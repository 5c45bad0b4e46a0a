"""Forward passes of the decode loop: the ways in which a model is fed token by token.

U distinct prompts, B rows, P longest prompt, V vocabulary. `sampling.pass_choice` chooses the way for a model.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from transformers import PreTrainedModel

from preflab.models.kinds import family_of
from preflab.sampling.cache import RowCache, moved_places, select_rows
from preflab.training.batches import TokenSequence

Mask = Literal["ready-made", "own", "none"]
"""Ways to mask padding. "ready-made": preflab makes one mask for all layers. "own": the model makes a mask per layer
from the mask of real tokens. "none": no mask is needed, because there is no padding."""

CACHE_ARGUMENTS = ("past_key_values", "cache_params", "state")
"""Names of the argument and output in which models take and return their cache."""

MODULE_STATES = ("conv1d_state", "recurrent_states")
"""Attributes in which modules store their own states between tokens, outside the cache (RecurrentGemma)."""


class Pass(Protocol):
    """A way of feeding a model: first the prompts, then one token per row in each step."""

    @property
    def pads(self) -> bool:
        """Whether prompts of one batch may differ in length."""

    @property
    def name(self) -> str:
        """The name of the way in the table of `preflab check`."""

    def start(self, prompts: Sequence[tuple[int, ...]], rows: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after the prompts; row b continues prompts[rows[b]]."""

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after one more token (B,) per row."""

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Copy rows `sources` over rows `targets`, then keep the first `num_rows` rows."""

    def release(self) -> None:
        """Free all memory that belongs to the rows."""


class CachedPass:
    """Prefill and single steps with a `RowCache`. Prompts are left-padded, so that all of them end in the last column.

    Args:
        model: the language model.
        pad_id: token that pads shorter prompts on the left.
        mask: how padding is masked; with "none" all prompts of a batch must have the same length.
    """

    def __init__(self, model: PreTrainedModel, pad_id: int, mask: Mask) -> None:
        self.model, self.pad_id, self.mask = model, pad_id, mask
        self.pads = mask != "none"
        self.takes = set(inspect.signature(model.forward).parameters)
        self.argument = cache_argument(model)
        self.stateful = [m for m in model.modules() if any(hasattr(m, name) for name in MODULE_STATES)]
        self.cache = RowCache()

    @property
    def name(self) -> str:
        """`cache` or `cache with states`, followed by the kind of mask, or by the need for prompts of equal length."""
        needs = {"ready-made": "", "own": ", model's own mask", "none": ", equal lengths"}[self.mask]
        has_states = self.stateful or RowCache(self.model.config).has_states
        return ("cache with states" if has_states else "cache") + needs

    def start(self, prompts: Sequence[tuple[int, ...]], rows: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after the prompts; row b continues prompts[rows[b]]."""
        device = rows.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        width = int(lengths.max())
        ids = [(self.pad_id,) * (width - len(prompt)) + prompt for prompt in prompts]
        self.padding = width - lengths
        self.padded = bool(self.padding.any())
        self.cache, self.num_seen = RowCache(self.model.config), 0
        self._forget_module_states()
        positions = (torch.arange(width, device=device) - self.padding[:, None]).clamp_min(0)
        logits = self._forward(torch.tensor(ids, device=device), positions)
        self.cache.expand(rows, len(prompts))
        self._move_module_states(rows, len(prompts))
        self.padding, self.next_positions = self.padding[rows], lengths[rows]
        return logits[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after one more token (B,) per row."""
        positions = self.next_positions[:, None]
        self.next_positions = self.next_positions + 1
        return self._forward(tokens[:, None], positions)

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Copy rows `sources` over rows `targets`, then keep the first `num_rows` rows."""
        self._move_module_states(moved_places(sources, targets, num_rows), len(self.padding))
        self.cache.move_rows(sources, targets, num_rows)
        self.padding = moved(self.padding, sources, targets, num_rows)
        self.next_positions = moved(self.next_positions, sources, targets, num_rows)

    def release(self) -> None:
        """Free the cache: a training loop needs the memory between two sampling calls."""
        self.cache = RowCache()
        self._forget_module_states()

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        arguments: dict[str, Any] = {"input_ids": ids, self.argument: self.cache, "use_cache": True}
        writes, self.cache.num_tokens = self.num_seen > 0, self.num_seen
        self.num_seen += ids.shape[1]
        if self.padded and (self.cache.has_keys or not writes):
            arguments["attention_mask"] = self._mask(ids.shape[1])
        if "position_ids" in self.takes:
            arguments["position_ids"] = positions
        if "logits_to_keep" in self.takes:
            arguments["logits_to_keep"] = 1
        return self.model(**arguments).logits[:, -1]

    def _mask(self, num_new: int) -> torch.Tensor:
        """The mask of keys: (B, keys), from which the model makes its own, or ready-made (B, 1, new, keys).

        True means that a token may attend to the key.
        """
        device = self.padding.device
        keys = torch.arange(self.num_seen, device=device)
        real = keys >= self.padding[:, None]
        if self.mask != "ready-made":
            return real.long()
        if num_new == 1:
            return real[:, None, None]
        queries = torch.arange(self.num_seen - num_new, self.num_seen, device=device)
        # A padding token attends to itself, so that no row of the softmax is empty.
        return ((keys <= queries[:, None]) & real[:, None] | (keys == queries[:, None]))[:, None]

    def _forget_module_states(self) -> None:
        for module in self.stateful:
            for name in MODULE_STATES:
                if hasattr(module, name):
                    setattr(module, name, None)

    def _move_module_states(self, rows: torch.Tensor, num_rows: int) -> None:
        for module in self.stateful:
            for name in MODULE_STATES:
                if isinstance(state := getattr(module, name, None), torch.Tensor):
                    setattr(module, name, select_rows(state, rows, num_rows))


class OwnCachePass:
    """Prefill and single steps with the cache that the model itself creates, for prompts of equal length."""

    pads = False
    name = "model's own cache, equal lengths"

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.argument = model, cache_argument(model)
        self.takes = set(inspect.signature(model.forward).parameters)
        self.cache: Any = None

    def start(self, prompts: Sequence[tuple[int, ...]], rows: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after prompts of equal length; row b continues prompts[rows[b]].

        Raises:
            ValueError: the model returns no cache.
        """
        self.cache, self.num_rows, self.num_seen = None, len(prompts), 0
        logits = self._forward(torch.tensor(prompts, device=rows.device))
        self._select(rows)
        return logits[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after one more token (B,) per row."""
        return self._forward(tokens[:, None])

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Copy rows `sources` over rows `targets`, then keep the first `num_rows` rows."""
        self._select(moved_places(sources, targets, num_rows))

    def release(self) -> None:
        """Free the cache."""
        self.cache = None

    def _select(self, rows: torch.Tensor) -> None:
        self.cache = select_rows(self.cache, rows, self.num_rows)
        self.num_rows = len(rows)

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        arguments: dict[str, Any] = {"input_ids": ids, "use_cache": True}
        if self.cache is not None:
            arguments[self.argument] = self.cache
        end = self.num_seen + ids.shape[1]
        if "position_ids" in self.takes:
            arguments["position_ids"] = torch.arange(self.num_seen, end, device=ids.device)[None]
        if "logits_to_keep" in self.takes:
            arguments["logits_to_keep"] = 1
        self.num_seen = end
        output = self.model(**arguments)
        self.cache = getattr(output, self.argument, None)
        if self.cache is None:
            raise ValueError(f"{type(self.model).__name__} does not return {self.argument}")
        return output.logits[:, -1]


class PlainPass:
    """Recomputes the whole sequence at every step, in the family's layout: correct for any language model, but slow."""

    pads = False
    name = "plain"

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.family = model, family_of(model)
        self.rows: list[TokenSequence] = []

    def start(self, prompts: Sequence[tuple[int, ...]], rows: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after prompts of equal length; row b continues prompts[rows[b]]."""
        self.rows = [TokenSequence(prompts[row], ()) for row in rows.tolist()]
        return self._forward([TokenSequence(prompt, ()) for prompt in prompts])[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after one more token (B,) per row."""
        written = zip(self.rows, tokens.tolist(), strict=True)
        self.rows = [TokenSequence(row.prompt_ids, (*row.completion_ids, token)) for row, token in written]
        return self._forward(self.rows)

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Copy rows `sources` over rows `targets`, then keep the first `num_rows` rows."""
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            self.rows[target] = self.rows[source]
        del self.rows[num_rows:]

    def release(self) -> None:
        """Forget the sequences."""
        self.rows = []

    def _forward(self, rows: Sequence[TokenSequence]) -> torch.Tensor:
        """(rows, V) logits after the last token of each row."""
        batch = self.family.collate(rows, 0).to(self.model.device)
        return self.family.logits(self.model, self.family.inputs(batch, self.model.dtype))[batch.last_places]


def cache_argument(model: PreTrainedModel) -> str:
    """The name of this model's cache argument."""
    takes = inspect.signature(model.forward).parameters
    return next((name for name in CACHE_ARGUMENTS if name in takes), CACHE_ARGUMENTS[0])


def moved(tensor: torch.Tensor, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> torch.Tensor:
    """A copy of the first `num_rows` rows, after rows `sources` are copied over rows `targets`."""
    tensor = tensor.clone()
    tensor[targets] = tensor[sources]
    return tensor[:num_rows]
