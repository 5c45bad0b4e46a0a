"""The jobs that benchmarks time still run: on a model of one narrow layer, as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NARROW = "--hidden 64 --layers 1 --rows 2 --prompt-tokens 3 --new-tokens 4 --threads 1"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_job_runs_to_its_result(repository: Path, stage: str) -> None:
    """`ppo_parts.py`, which the PPO step's timing uses as well, is part of the second."""
    job = repository / "benchmarks" / "jobs" / "memory_step.py"
    command = [sys.executable, str(job), stage, *NARROW.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    result = json.loads(line.removeprefix("RESULT "))
    # 32,000 × 64 (tied) + one layer of 4 × 64² + 3 × 64 × 176 + 2 × 64 + the last norm of 64
    assert result["parameters"] == 32000 * 64 + 4 * 64**2 + 3 * 64 * 176 + 3 * 64
    assert result["stage"] == stage
