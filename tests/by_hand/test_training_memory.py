"""When freed memory is given back."""

from __future__ import annotations

import resource

import pytest

from preflab.training import freed_memory as memory

GIB = 2**30


def test_only_a_large_process_that_has_grown_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 3 GiB, and above what was left the last time by at least a quarter of one."""
    resident = [0]
    trimmed: list[int] = []

    def trim(_: int) -> int:
        trimmed.append(resident[0])
        resident[0] -= GIB
        return 1

    monkeypatch.setattr(memory, "_resident", lambda: resident[0])
    monkeypatch.setattr(memory, "_trim", lambda: trim)
    monkeypatch.setattr(memory, "_after_last", 0)
    for now in (2 * GIB, 3 * GIB, 5 * GIB, 4 * GIB + GIB // 4, 4 * GIB + GIB // 4 + 1):
        resident[0] = now
        memory.give_back()
    assert trimmed == [5 * GIB, 4 * GIB + GIB // 4 + 1]


def test_memory_of_this_process_is_told_in_bytes() -> None:
    """No more than its peak, which the system tells in KiB, and no less than an interpreter with PyTorch needs."""
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 50 * 2**20 < memory._resident() <= 1.01 * peak


def test_trim_is_the_systems_or_none() -> None:
    trim = memory._trim()
    assert trim is None or trim(0) in (0, 1)
