"""The machine a recipe is made for: its processors, and the memory that is free on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where a container's limit and use stand, in both versions of control groups: folder, limit, use."""


NO_LIMIT = 2**60
"""Bytes from which on a limit is none."""


@dataclass(frozen=True)
class Machine:
    """What there is to compute on."""

    accelerator: str
    """`cuda`, or "" for the processor alone."""
    free: int
    """Bytes that can still be taken: of the accelerator, or of the main memory."""
    num_threads: int
    half: bool
    """Whether it computes bfloat16 at full speed."""

    @property
    def said(self) -> str:
        """The machine in a few words."""
        where = "on the GPU" if self.accelerator else "in the main memory"
        return f"{gib(self.free)} free {where}"


def gib(num_bytes: float) -> str:
    """Bytes as `1.4 GiB`."""
    return f"{num_bytes / GIB:.1f} GiB"


def this_machine(memory: float | None = None) -> Machine:
    """This machine; `memory` in GiB is what another one has that the recipe is made for."""
    import torch

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.cuda.is_available():
        free = torch.cuda.mem_get_info()[0]
        half = torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine("cuda", free if memory is None else round(memory * GIB), threads, half)
    return Machine("", free_memory() if memory is None else round(memory * GIB), threads, False)


def free_memory() -> int:
    """Bytes of main memory that a process can still take, a container's limit kept.

    The system's own account of what is available, else half of all there is; less where a control group allows less. Of
    what a group uses, files that were read and can be forgotten do not count.
    """
    available = _available()
    for folder, limit, used in CGROUPS:
        allowed, taken = _number(Path(folder) / limit), _number(Path(folder) / used)
        if allowed is not None and taken is not None and allowed < NO_LIMIT:
            available = min(available, max(0, allowed - taken + _forgettable(Path(folder) / "memory.stat")))
    return available


def _forgettable(stat: Path) -> int:
    """Bytes of files in memory that nothing needs at the moment."""
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
    """The number in a file; None where there is none, or no limit."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
