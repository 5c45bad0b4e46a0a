"""Free memory of this machine: of a CUDA device, or of main memory within a container's limit."""

from __future__ import annotations

import os
from pathlib import Path

GIB = 2**30
CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Files with a container's memory limit and use, for both versions of control groups: (folder, limit, use)."""


NO_LIMIT = 2**60
"""Bytes; a limit of this or more means no limit."""


USED = 0.85
"""Share of the free memory that may be used; the margin covers errors of the prediction."""


def gib(num_bytes: float) -> str:
    """Bytes as `1.4 GiB`."""
    return f"{num_bytes / GIB:.1f} GiB"


def free_device_memory() -> int:
    """Free bytes of the CUDA device that is used, as the driver reports them."""
    import torch

    return int(torch.cuda.mem_get_info()[0])


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
