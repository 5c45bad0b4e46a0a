"""Returns freed memory to the operating system between the phases of a step.

The C library keeps freed memory in fragments. A phase that allocates other sizes (a backward pass after decoding)
cannot reuse them, so the peak memory of the process grows far beyond what is in use at any time.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

SMALL = 3 * 2**30
"""Resident bytes up to which a process keeps its freed memory. The system has to clear returned memory before it is
allocated again; for a small model that took a tenth of the update's time."""

WORTH_IT = 2**28
"""Bytes by which a larger process must have grown since it last returned memory."""

_after_last = 0
"""Resident bytes right after memory was last returned."""


def give_back() -> None:
    """Return freed memory to the system if the process is large and has grown; does nothing without glibc on Linux."""
    global _after_last
    trim = _trim()
    if trim is not None and _resident() > max(SMALL, _after_last + WORTH_IT):
        trim(0)
        _after_last = _resident()


def _resident() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim if Path("/proc/self/statm").exists() else None
