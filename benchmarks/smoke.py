"""Compares what one step of every loop computes with what it is to compute, exactly: `make bench-smoke`.

Prints each number that differs and exits with 1. Nothing is timed, so a busy machine gives the same result. The
expected numbers and their derivation are in `smoke_table.py`; `smoke_counter.py` says what is counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

from smoke_counter import Counts
from smoke_table import expected
from smoke_worlds import (
    BATCH,
    HAS_FIXED_BUFFERS,
    LORA,
    ON_DECODER,
    Batch,
    dpo_step,
    encoder_decoder,
    grpo_step,
    ppo_step,
    reward_step,
    sampling,
    sft_step,
)

Numbers = dict[tuple[str, str], int]
"""(world, number) → value."""

MORE_TOKENS = 8
"""Tokens that the longer of two runs decodes more; their difference gives the host waits per token."""

STEPS: dict[str, Callable[[Batch], Counts]] = {
    "SFT, LoRA": lambda batch: sft_step(batch, LORA),
    "SFT, full": lambda batch: sft_step(batch, None),
    "reward, LoRA": reward_step,
    "DPO, LoRA": lambda batch: dpo_step(batch, LORA),
    "DPO, full": lambda batch: dpo_step(batch, None),
    "PPO, LoRA": lambda batch: ppo_step(batch, LORA),
    "PPO, full": lambda batch: ppo_step(batch, None),
    "GRPO, LoRA": lambda batch: grpo_step(batch, LORA),
    "GRPO, full": lambda batch: grpo_step(batch, None),
    "GRPO, encoder–decoder, LoRA on the decoder": lambda batch: grpo_step(batch, ON_DECODER, encoder_decoder),
    "GRPO, encoder–decoder, LoRA everywhere": lambda batch: grpo_step(batch, LORA, encoder_decoder),
}

SAMPLING: dict[str, Callable[[Batch], Counts]] = {
    "sampling": sampling,
    "sampling, encoder–decoder": lambda batch: sampling(batch, encoder_decoder),
}
OVER_FIXED_BUFFERS: dict[str, Callable[[Batch], Counts]] = {
    "sampling over fixed buffers": lambda batch: sampling(batch, fixed_buffers=True),
    "sampling over fixed buffers, encoder–decoder": lambda batch: sampling(batch, encoder_decoder, fixed_buffers=True),
}
"""Counted if this version has them."""


def budgets(batch: Batch) -> dict[str, int]:
    """World → tokens per micro-batch that cut its update into exactly two.

    Micro-batches hold rows × longest row within the budget, longest rows first: the first half just fits.
    """
    longest_pair = max(p + max(a, b) for p, a, b in batch.pairs)
    rollouts = batch.per_prompt * (max(batch.prompts) + batch.new)
    return {
        "SFT, LoRA": 2 * max(p + c for p, c in batch.demonstrations),
        "reward, LoRA": 2 * longest_pair,
        "DPO, LoRA": max(p + a + b for p, a, b in batch.pairs),
        "PPO, LoRA": rollouts,
        "GRPO, LoRA": rollouts,
    }


def flat(world: str, counts: Counts) -> Numbers:
    """The numbers of one run, without those that are 0."""
    columns = {
        "trunk tokens": counts.trunk_tokens,
        "head rows": counts.head_rows,
        "prompts encoded": counts.encoded_prompts,
        "optimiser steps": counts.optimiser_steps,
    }
    return {(world, f"{name}, {phase}"): n for name, column in columns.items() for phase, n in column.items() if n}


def count_everything(batch: Batch = BATCH) -> Numbers:
    """Every number of every world, counted now."""
    numbers: Numbers = {}
    for world, run in (SAMPLING | (OVER_FIXED_BUFFERS if HAS_FIXED_BUFFERS else {})).items():
        run(batch)  # what a process does once, such as a test of torch's build, is not counted
        short, long = run(batch), run(replace(batch, new=batch.new + MORE_TOKENS))
        more = long.waits["sampling"] - short.waits["sampling"]
        numbers |= flat(world, short) | {(world, f"host waits per {MORE_TOKENS} decoded tokens"): more}
    for world, run in STEPS.items():
        counts = run(batch)
        numbers |= flat(world, counts)
        if budget := budgets(batch).get(world):
            halved = run(replace(batch, tokens_per_micro_batch=budget))
            numbers[world, "host waits per micro-batch"] = halved.waits["update"] - counts.waits["update"]
            numbers[world, "trunk tokens, update in two micro-batches"] = halved.trunk_tokens["update"]
    return numbers


def differences(counted: Mapping[tuple[str, str], int], batch: Batch = BATCH) -> list[tuple[str, str, int, int, str]]:
    """Rows (world, number, expected, counted, reasoning) of the numbers that differ; a missing number counts as 0."""
    wanted = expected(batch)
    rows = []
    for world, number in sorted(counted.keys() | wanted.keys()):
        value, because = wanted.get((world, number), (0, "nothing of this kind is expected"))
        if value != (found := counted.get((world, number), 0)):
            rows.append((world, number, value, found, because))
    return rows


def main() -> int:
    """Counts, prints what differs, returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="print every number, not only those that differ")
    args = parser.parse_args()
    counted = count_everything()
    if args.all:
        wanted = expected()
        for key in sorted(counted.keys() | wanted.keys()):
            print(f"{key[0]}: {key[1]}: {counted.get(key, 0)}, {wanted.get(key, (0, ''))[1]}")
    differing = differences(counted)
    if not differing:
        print(f"{len(expected())} operation counts are as expected")
        return 0
    for world, number, value, found, because in differing:
        print(f"{world}: {number}: {found}, expected {value} ({because})")
    print(f"\nerror: {len(differing)} operation counts differ from benchmarks/smoke_table.py", file=sys.stderr)
    print("       change the formula, and say why, if a step is to do this work; else mend the code", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
