"""Chooses `tokens_per_micro_batch` and `gradient_checkpointing` by memory, where a recipe says `auto`.

Neither setting changes what is learned, beyond rounding, so the largest micro-batch without checkpointing that fits is
taken; then smaller ones; and checkpointing, which takes a third more time, before micro-batches get too small to be
fast. The sizes that are tried are fixed, so that machines with similar memory choose alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from preflab.memory.arithmetic import Estimate, estimate
from preflab.memory.free import USED
from preflab.memory.load import Lengths, load_of
from preflab.memory.sizes import Sizes

AUTO = "auto"
TOKENS = (4096, 2048, 1024, 512)
"""Sizes of micro-batches that are tried on a CPU, where larger ones are not faster."""
TOKENS_GPU = (32768, 16384, 8192, 4096, 2048, 1024, 512)
"""Sizes of micro-batches that are tried on a GPU."""
SMALL = 1024
"""Tokens below which checkpointing is preferred to smaller micro-batches."""


@dataclass(frozen=True)
class Choice:
    """The settings of a stage that memory decides."""

    tokens: int
    """tokens_per_micro_batch."""
    checkpointing: bool
    """gradient_checkpointing."""
    estimate: Estimate
    """The predicted memory of the stage with them."""
    fits: bool
    """Whether the prediction is at most `USED` of the free memory; if False, nothing fits and this needs least."""


def is_auto(settings: Any) -> bool:
    """Whether a stage's settings leave something to memory."""
    optimiser = getattr(settings, "optimiser", None)
    return optimiser is not None and AUTO in (optimiser.tokens_per_micro_batch, optimiser.gradient_checkpointing)


def choose(
    model: Sizes,
    kind: str,
    settings: Any,
    lengths: Lengths,
    free: int,
    *,
    half: bool = False,
    accelerator: bool = False,
) -> Choice:
    """The settings that memory decides, for a stage that has `free` bytes. What is not `auto` stays as it is.

    Args:
        model: the sizes of its model.
        kind: the kind of the stage.
        settings: its settings.
        lengths: tokens of the longest rows.
        free: free bytes on its device.
        half: whether it computes in 16 bits.
        accelerator: whether it computes on a GPU.
    """
    tried = []
    for tokens, checkpointing in _candidates(settings, accelerator):
        load = load_of(kind, with_choice(settings, tokens, checkpointing), lengths, half=half)
        # The longest micro-batch may be as large as the budget: rows of other lengths fill it up.
        load = replace(load, tokens=max(tokens, load.tokens), several=True)
        predicted = estimate(model, load, accelerator=accelerator)
        tried.append(Choice(tokens, checkpointing, predicted, predicted.total <= USED * free))
        if tried[-1].fits:
            return tried[-1]
    return min(tried, key=lambda choice: choice.estimate.total)


def _candidates(settings: Any, accelerator: bool) -> Iterator[tuple[int, bool]]:
    """Pairs of tokens and checkpointing, best first."""
    tokens, checkpointing = settings.optimiser.tokens_per_micro_batch, settings.optimiser.gradient_checkpointing
    sizes = (TOKENS_GPU if accelerator else TOKENS) if tokens == AUTO else (tokens,)
    ways = (False, True) if checkpointing == AUTO else (checkpointing,)
    pairs = [(size, way) for way in ways for size in sizes]
    if len(ways) > 1 and len(sizes) > 1:
        pairs.sort(key=lambda pair: not pair[1] and pair[0] < SMALL)
    yield from pairs


def with_choice(settings: Any, tokens: int, checkpointing: bool) -> Any:
    """The settings with these values in place of `auto`."""
    values = {"tokens_per_micro_batch": tokens, "gradient_checkpointing": checkpointing}
    return settings.model_copy(update={"optimiser": settings.optimiser.model_copy(update=values)})
