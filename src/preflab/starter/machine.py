"""The machine that a recipe is made for: its CPU threads, its GPU, and its free memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Files with a container's memory limit and use, for both versions of control groups: (folder, limit, use)."""


NO_LIMIT = 2**60
"""Bytes; a limit of this or more means no limit."""


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


def gib(num_bytes: float) -> str:
    """Bytes as `1.4 GiB`."""
    return f"{num_bytes / GIB:.1f} GiB"


def this_machine(memory: float | None = None) -> Machine:
    """This machine; `memory` in GiB replaces its free memory, for a recipe that runs elsewhere."""
    import torch

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.cuda.is_available():
        free = torch.cuda.mem_get_info()[0]
        half = torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine("cuda", free if memory is None else round(memory * GIB), threads, half)
    return Machine("", free_memory() if memory is None else round(memory * GIB), threads, False)


def free_memory() -> int:
    """Bytes of main memory that this process can still use, within the container's limit.

    It is the system's figure of available memory, else half of the memory, and at most the room that the control group
    leaves. Reclaimable file cache does not count as used.
    """
    available = _available()
    for folder, limit, used in CGROUPS:
        allowed, taken = _number(Path(folder) / limit), _number(Path(folder) / used)
        if allowed is not None and taken is not None and allowed < NO_LIMIT:
            available = min(available, max(0, allowed - taken + _reclaimable(Path(folder) / "memory.stat")))
    return available


def _reclaimable(stat: Path) -> int:
    """Bytes of inactive file cache, which the system can free at once."""
    try:
        fields = dict(line.split() for line in stat.read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("inactive_file", fields.get("total_inactive_file", 0)))


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _number(path: Path) -> int | None:
    """The number in a file; None if the file is missing or says `max` (no limit)."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
