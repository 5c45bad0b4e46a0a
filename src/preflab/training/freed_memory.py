"""Freed memory given back to the system between the phases of a step.

The C library keeps what was freed, in pieces; a phase with other sizes (decoding, then a backward pass) then takes new
memory beside it, and the peak of a process grows far beyond what is alive at any time.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

SMALL = 3 * 2**30
"""Bytes that a process may hold without giving any back: memory taken anew must be cleared by the system again, which
cost a small model a tenth of its update."""

WORTH_IT = 2**28
"""Bytes by which a larger process must have grown since the last time."""

_after_last = 0
"""Resident bytes after the last time."""


def give_back() -> None:
    """Return freed memory to the system if the process is large and has grown; only with glibc on Linux."""
    global _after_last
    trim = _trim()
    if trim is not None and _resident() > max(SMALL, _after_last + WORTH_IT):
        trim(0)
        _after_last = _resident()


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim if Path("/proc/self/statm").exists() else None
