"""Settings with which a stage needs less memory, each with the predicted peak."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from preflab.memory.arithmetic import estimate
from preflab.memory.load import LEARNING, ON_POLICY, USUAL_RANK, Load
from preflab.memory.sizes import Sizes

FEWEST_TOKENS = 512
FEWEST_ROWS = 8


@dataclass(frozen=True)
class Remedy:
    """A change of settings and the peak with it alone."""

    change: str
    """In the words of a recipe: `gradient_checkpointing: true`."""
    total: int
    """Bytes at the peak."""


def remedies(model: Sizes, load: Load, *, accelerator: bool = False) -> list[Remedy]:
    """Changes that lower the peak of a stage, the most effective first. Each figure is for this change alone."""
    now = estimate(model, load, accelerator=accelerator)
    changed = [
        Remedy(change, estimate(model, other, accelerator=accelerator).total) for change, other in _changes(load)
    ]
    return sorted((each for each in changed if each.total < now.total), key=lambda each: each.total)


def _changes(load: Load) -> Iterator[tuple[str, Load]]:
    """Changes in words, with the load that a stage has with them."""
    if load.kind in LEARNING:
        if not load.checkpointing:
            yield "gradient_checkpointing: true", replace(load, checkpointing=True)
        tokens = load.tokens // 2
        if tokens >= FEWEST_TOKENS:
            yield f"tokens_per_micro_batch: {tokens}", replace(load, tokens=tokens, several=True)
        if not load.eight_bit:
            yield "optimiser.states: 8bit", replace(load, eight_bit=True)
        if load.lora and not load.four_bit:
            yield "lora: {base: nf4}", replace(load, four_bit=True)
        if not load.lora and load.kind != "classifier":
            rewards = max(0, load.models - 1) if load.kind in ON_POLICY else 0
            yield (
                f"lora: {{rank: {USUAL_RANK}}}",
                replace(load, lora=True, rank=USUAL_RANK, models=0, adapters=rewards),
            )
    if not load.half:
        yield "device.precision: bfloat16", replace(load, half=True)
    if load.rows // 2 >= FEWEST_ROWS:
        yield f"max_batch_rows: {load.rows // 2}", replace(load, rows=load.rows // 2)
