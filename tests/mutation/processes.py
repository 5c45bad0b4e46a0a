"""Jobs in forked processes, some side by side, each with a limit on the processor time it may use.

The parent imports what is slow to import once; a job starts from there in milliseconds. What a job changes, imports or
breaks stays in its process.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAITING_FACTOR = 6
"""Wall-clock seconds allowed per second of processor time: a job that only waits ends too."""


RAISED = "raised"
"""The file that a job leaves whose own work raised an error."""


@dataclass(frozen=True)
class Job:
    """What runs in a process of its own; what it returns must be JSON."""

    work: Callable[[Path], Any]
    """Gets an empty folder, which is removed afterwards."""
    seconds: int
    """Processor time it may use."""


@dataclass(frozen=True)
class Ended:
    """What came of a job."""

    result: Any
    """None of a job that died, was stopped, or raised an error."""
    output: str
    """The end of what it printed."""
    raised: bool = False
    """It raised an error itself."""


@dataclass
class _Running:
    place: int
    folder: Path
    deadline: float


def run_jobs(jobs: Sequence[Job], num_processes: int, finished: Callable[[int, Ended], None]) -> None:
    """Run every job and hand (its place, what came of it) to `finished`."""
    running: dict[int, _Running] = {}
    waiting = list(enumerate(jobs))[::-1]
    try:
        while waiting or running:
            while waiting and len(running) < num_processes:
                place, job = waiting.pop()
                folder = Path(tempfile.mkdtemp(prefix="preflab-mutation-"))
                pid = _start(job, folder)
                running[pid] = _Running(place, folder, time.monotonic() + WAITING_FACTOR * job.seconds)
            for pid in list(running):
                if time.monotonic() > running[pid].deadline:
                    _stop(pid)
                if os.waitpid(pid, os.WNOHANG)[0]:
                    ended = running.pop(pid)
                    finished(ended.place, _collect(pid, ended.folder))
            time.sleep(0.02)
    finally:
        for pid, left in running.items():
            _stop(pid)
            shutil.rmtree(left.folder, ignore_errors=True)


def _start(job: Job, folder: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (job.seconds, job.seconds + 5))
        silence = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        (folder / "work").mkdir()
        result = json.dumps(job.work(folder / "work"))
        (folder / "result.json").write_text(result, encoding="utf-8")
        code = 0
    except BaseException:
        traceback.print_exc(file=os.fdopen(1, "w", closefd=False))
        (folder / RAISED).touch()
        raise
    finally:
        os._exit(code)


def _collect(pid: int, folder: Path) -> Ended:
    """What came of an ended job; what it started itself is stopped, its folder removed."""
    _stop(pid)
    path, printed = folder / "result.json", folder / "output.txt"
    result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    raised = (folder / RAISED).exists()
    output = printed.read_text(encoding="utf-8", errors="replace")[-2000:] if printed.is_file() else ""
    shutil.rmtree(folder, ignore_errors=True)
    return Ended(result, output, raised)


def _stop(pid: int) -> None:
    """End the process group that a job leads."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
