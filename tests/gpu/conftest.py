"""Tests of what a GPU changes: each runs on the CPU among the quick tests, and on a GPU with `-m gpu`.

`PREFLAB_TEST_DEVICE=cpu pytest -m gpu` runs the tests that are marked for a GPU on the CPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """The device that the test runs on."""
    if request.param == "cpu":
        return "cpu"
    chosen = os.environ.get("PREFLAB_TEST_DEVICE", "cuda")
    if chosen.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device; PREFLAB_TEST_DEVICE=cpu runs the same tests on the CPU")
    return chosen


@pytest.fixture(scope="session")
def checks(repository: Path) -> Iterator[Any]:
    """The checks that benchmarks/gpu.py runs before it times anything."""
    sys.path.insert(0, str(repository / "benchmarks"))
    try:
        import gpu_checks  # type: ignore[import-not-found]

        yield gpu_checks
    finally:
        sys.path.remove(str(repository / "benchmarks"))
