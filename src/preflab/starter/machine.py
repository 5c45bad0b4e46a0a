"""The machine that a recipe is made for: its CPU threads, its GPU, and its free memory."""

from __future__ import annotations

import os
from dataclasses import dataclass

from preflab.memory.free import GIB, free_device_memory, free_memory, gib


@dataclass(frozen=True)
class Machine:
    """The hardware for a run."""

    accelerator: str
    """`cuda`, or "" for the CPU only."""
    free: int
    """Free bytes of the GPU's memory, or of main memory without a GPU."""
    num_threads: int
    half: bool
    """Whether bfloat16 runs at full speed."""

    @property
    def said(self) -> str:
        """The free memory in words: `1.4 GiB free on the GPU`."""
        where = "on the GPU" if self.accelerator else "in the main memory"
        return f"{gib(self.free)} free {where}"


def this_machine(memory: float | None = None) -> Machine:
    """This machine; `memory` in GiB replaces its free memory, for a recipe that runs elsewhere."""
    import torch

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.cuda.is_available():
        free = free_device_memory()
        half = torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine("cuda", free if memory is None else round(memory * GIB), threads, half)
    return Machine("", free_memory() if memory is None else round(memory * GIB), threads, False)
