"""Runs timing jobs as separate processes, in turn, and sums them up: medians, ratios of medians, peak memory.

A job is a command that prints one line `RESULT {json}`; its peak memory is read from the operating system when the
process has ended (`ru_maxrss` of that process alone), whatever the job itself says.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any


@dataclass(frozen=True)
class Job:
    """One process to time.

    `figure` is the key of its RESULT that is compared.
    """

    name: str
    command: tuple[str, ...]
    figure: str


@dataclass
class Outcome:
    """What the repetitions of one job gave."""

    job: Job
    figures: list[float] = field(default_factory=list)
    peaks_mib: list[float] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def figure(self) -> float:
        """Median over the repetitions."""
        return statistics.median(self.figures)

    @property
    def peak_mib(self) -> float:
        """Median over the repetitions of the process's peak resident memory."""
        return statistics.median(self.peaks_mib)


def run_once(job: Job, environment: dict[str, str]) -> tuple[dict[str, Any], float]:
    """The job's RESULT and its peak resident memory in MiB; stops everything when the job fails."""
    process = Popen(job.command, stdout=PIPE, env=os.environ | environment, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if process.returncode != 0 or len(lines) != 1:
        sys.exit(f"error: {job.name}: exit code {process.returncode}, {len(lines)} RESULT lines\n{output[-2000:]}")
    return json.loads(lines[0].removeprefix("RESULT ")), usage.ru_maxrss / 1024


def alternate(jobs: Sequence[Job], num_rounds: int, environment: dict[str, str]) -> dict[str, Outcome]:
    """Every job once per round, in order, so that a busy moment of the machine hits all of them alike."""
    outcomes = {job.name: Outcome(job) for job in jobs}
    for number in range(1, num_rounds + 1):
        for job in jobs:
            result, peak = run_once(job, environment)
            outcome = outcomes[job.name]
            outcome.figures.append(float(result[job.figure]))
            outcome.peaks_mib.append(peak)
            outcome.results.append(result)
            said = f"{job.figure} {result[job.figure]:g}, peak {peak:.0f} MiB"
            print(f"round {number} of {num_rounds}  {job.name:<24} {said}", file=sys.stderr, flush=True)
    return outcomes


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned first column, the others right-aligned."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), *(line(row) for row in rows)])


def write_json(path: Path, content: Any) -> None:
    """Beside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)
