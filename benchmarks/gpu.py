"""Correctness and timings on one GPU: preflab beside transformers and TRL, on random models made on the spot.

    python benchmarks/gpu.py                                      everything, in under eight minutes
    python benchmarks/gpu.py --only grpo ppo --minutes 5          some jobs, or less time
    python benchmarks/gpu.py --device cpu --model tiny            try it without a GPU; its timings say nothing
    python benchmarks/gpu.py --peer-python ENV/bin/python         TRL lives in an environment of its own

Each job is a process. Checks come first: what depends on one that fails is not timed, and the exit status is 1. Read
benchmarks/README.md before quoting a number.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LEAST_S = 5.0
"""A job is not started with less time left than this."""


@dataclass
class Outcome:
    """What became of a job: a result, or the reason why there is none."""

    job: Any
    result: dict[str, Any] | None = None
    why_not: str = ""
    failed: bool = False
    """Whether the reason is an error; a peer that is not installed and a lack of time are none."""
    output: str = ""
    wall_s: float = 0.0


@dataclass
class Report:
    """All outcomes, in order."""

    outcomes: list[Outcome] = field(default_factory=list)

    def result(self, name: str) -> dict[str, Any] | None:
        """The result of a job; None if it has none."""
        return next((one.result for one in self.outcomes if one.job.name == name), None)

    @property
    def checks(self) -> list[dict[str, Any]]:
        """The checks that were made."""
        return (self.result("check") or {}).get("checks", [])

    @property
    def failed_checks(self) -> set[str]:
        """Groups with a check that does not hold; all groups if the job itself failed."""
        from gpu_plan import CHECKS

        return {row["name"] for row in self.checks if not row["holds"]} if self.checks else set(CHECKS)

    @property
    def status(self) -> int:
        """The exit status: 1 if a check does not hold or a job failed."""
        return int(bool(self.failed_checks) or any(one.failed for one in self.outcomes))


RunJob = Callable[[Any, float], Outcome]
"""(job, seconds) → outcome; the process is ended after these seconds."""


def run_all(jobs: Sequence[Any], run: RunJob, seconds: float, clock: Callable[[], float] = time.monotonic) -> Report:
    """Run the jobs in order while time is left; leave out those whose checks did not hold."""
    report, end = Report(), clock() + seconds
    for job in jobs:
        left = end - clock()
        # `needs` is empty for the checks themselves and for peers, which have no result to wait for.
        lacking = sorted(set(job.needs) & report.failed_checks) if job.needs else []
        if lacking:
            outcome = Outcome(job, why_not=f"not timed: {', '.join(lacking)} failed")
        elif left < LEAST_S:
            outcome = Outcome(job, why_not="no time left")
        else:
            outcome = run(job, min(left, job.budget_s))
        report.outcomes.append(outcome)
        said = outcome.why_not or f"{outcome.wall_s:.0f} s"
        print(f"{job.name:<16} {said}", file=sys.stderr, flush=True)
        if job.name == "card" and outcome.failed:  # there is no such device: no job could run
            break
    return report


def process(command: Sequence[str], seconds: float, environment: dict[str, str]) -> tuple[int | None, str]:
    """Run a command in a process group of its own; (exit status, None if it took too long; output)."""
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    try:
        output, _ = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        output, _ = running.communicate()
        return None, output
    return running.returncode, output


def runner(args: argparse.Namespace) -> RunJob:
    """Runs jobs with the interpreter, device and options of the command line."""
    folders = [str(HERE.parent / "src"), str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folder for folder in folders if folder)}
    if args.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""

    def run(job: Any, seconds: float) -> Outcome:
        python = args.peer_python if job.is_peer and args.peer_python else sys.executable
        command = [python, str(HERE / "jobs" / job.script)]
        command += job.arguments(args.device, args.engine, profile=args.profile and job.script != "gpu_check.py")
        start = time.monotonic()
        status, output = process(command, seconds, environment)
        return outcome_of(job, status, output, seconds, time.monotonic() - start)

    return run


def outcome_of(job: Any, status: int | None, output: str, seconds: float, wall_s: float) -> Outcome:
    """What a process's exit status and output mean."""
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if status is None:
        return Outcome(job, None, f"ended after {seconds:.0f} s", True, output, wall_s)
    if status != 0 or len(lines) != 1:
        return Outcome(job, None, f"failed with exit status {status}", True, output, wall_s)
    result = json.loads(lines[0].removeprefix("RESULT "))
    if "missing" in result:
        return Outcome(job, None, f"not installed: {', '.join(result['missing'])}", False, output, wall_s)
    return Outcome(job, result, "", False, output, wall_s)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from gpu_models import SHAPES
    from gpu_plan import JOBS

    names = ", ".join(job.name for job in JOBS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--model", default="", choices=tuple(SHAPES), help="one model for all jobs")
    parser.add_argument(
        "--dtype",
        default="",
        choices=("float32", "bfloat16"),
        help="one type for all jobs; default: bfloat16, on the CPU float32",
    )
    parser.add_argument("--only", nargs="+", default=[], help=f"beginnings of names of jobs: {names}")
    parser.add_argument("--minutes", type=float, default=8.0, help="jobs that do not fit are left out")
    parser.add_argument("--engine", default="", choices=("plain", "captured"), help="default: the fastest")
    parser.add_argument("--peer-python", default="", help="the interpreter of the environment that has TRL")
    parser.add_argument("--profile", action="store_true", help="print the 15 kernels that take longest, per job")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/gpu.json, on the CPU gpu-cpu.json")
    args = parser.parse_args(words)
    unknown = [word for word in args.only if not any(job.name.startswith(word) for job in JOBS)]
    if unknown:
        parser.error(f"--only {unknown[0]}: no job begins so; the jobs are {names}")
    # A try on the CPU must not overwrite what a GPU has measured.
    args.out = args.out or HERE / "results" / ("gpu-cpu.json" if args.device == "cpu" else "gpu.json")
    return args


def main() -> int:
    """Runs, prints the tables, writes JSON; returns the exit status."""
    args = arguments()
    from gpu_plan import planned
    from gpu_tables import as_json, print_tables
    from running import write_json

    args.dtype = args.dtype or ("float32" if args.device == "cpu" else "")
    report = run_all(planned(args.model, args.dtype, tuple(args.only)), runner(args), 60 * args.minutes)
    for one in report.outcomes:
        if one.failed:
            print(f"\n{one.job.name}: {one.why_not}; its last lines:\n{one.output[-2000:]}", file=sys.stderr)
        elif args.profile and one.result is not None:
            kept = [line for line in one.output.splitlines() if not line.startswith("RESULT ")]
            print(f"\n{one.job.name}\n" + "\n".join(kept))
    if report.result("card") is None:  # no device: keep the figures of an earlier run
        return report.status
    print_tables(report, args.device)
    write_json(args.out, as_json(report, args.device))
    print(f"\nwritten: {args.out}")
    return report.status


if __name__ == "__main__":
    sys.exit(main())
