"""Bookkeeping of the runs in a workspace: the lock, the counts of `--fresh`, package versions and the time."""

from __future__ import annotations

import datetime
import os
import platform
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from preflab import __version__
from preflab.errors import PreflabError
from preflab.files import read_json, readable_disk_errors, write_json


def now() -> str:
    """The current time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python, preflab and the packages that affect results most, read without importing them."""
    known = {"python": platform.python_version(), "preflab": __version__}
    for name in ("torch", "transformers", "peft"):
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            known[name] = "not installed"
    return known


class FreshCounts:
    """How often each stage was started with `--fresh`, kept in `runs/fresh.json`: key without count → count.

    A count above 0 becomes part of the stage's key.

    Args:
        runs: the folder that contains the run folders.
        fresh: stages to run again in this call; `save` stores their new counts.
    """

    def __init__(self, runs: Path, fresh: Sequence[str] = ()) -> None:
        self.path, self.fresh = runs / "fresh.json", tuple(fresh)
        self.counts: dict[str, int] = read_json(self.path) if self.path.exists() else {}
        self.added: dict[str, int] = {}

    def of(self, stage: str, key: str) -> int:
        """The count of a stage, including this call's `fresh`; 0 if it was never started with `--fresh`."""
        if stage in self.fresh:
            self.added[key] = self.counts.get(key, 0) + 1
        return self.added.get(key, self.counts.get(key, 0))

    def save(self) -> None:
        """Store the new counts."""
        if self.added:
            write_json(self.path, self.counts | self.added)


@contextmanager
def locked(runs: Path) -> Iterator[None]:
    """Hold the lock that allows one run at a time in a workspace. The system releases it if the process dies.

    Raises:
        PreflabError: another process holds the lock.
    """
    import fcntl

    path = runs / ".lock"
    with readable_disk_errors(path):
        runs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # private: a workspace holds names and answers
        runs.mkdir(exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise PreflabError(
                f"{runs.parent}: {file.read().strip() or 'another preflab'} is running in this workspace",
                "one run at a time per workspace",
                "wait until it ends, or choose another folder with --workspace",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
