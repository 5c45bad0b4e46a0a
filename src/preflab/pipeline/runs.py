"""The run folders of a workspace: the lock that allows one run at a time, counts of `--fresh`, versions and times."""

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
    """The time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python, preflab and what a result depends on most, read without importing anything."""
    known = {"python": platform.python_version(), "preflab": __version__}
    for name in ("torch", "transformers", "peft"):
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            known[name] = "not installed"
    return known


class FreshCounts:
    """How often a stage was asked for anew: `runs/fresh.json`, base key → count, part of the key from then on.

    Args:
        runs: the folder of the run folders.
        fresh: the stages asked for anew now; counted for good by `save`.
    """

    def __init__(self, runs: Path, fresh: Sequence[str] = ()) -> None:
        self.path, self.fresh = runs / "fresh.json", tuple(fresh)
        self.counts: dict[str, int] = read_json(self.path) if self.path.exists() else {}
        self.added: dict[str, int] = {}

    def of(self, stage: str, key: str) -> int:
        """0 for a stage that was never asked for anew."""
        if stage in self.fresh:
            self.added[key] = self.counts.get(key, 0) + 1
        return self.added.get(key, self.counts.get(key, 0))

    def save(self) -> None:
        """From now on the counts are these."""
        if self.added:
            write_json(self.path, self.counts | self.added)


@contextmanager
def locked(runs: Path) -> Iterator[None]:
    """One run at a time in a workspace; the system frees the lock of a process that died, however it died.

    Raises:
        PreflabError: another process is running here.
    """
    import fcntl

    path = runs / ".lock"
    with readable_disk_errors(path):
        runs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # a workspace, which holds names and answers
        runs.mkdir(exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise PreflabError(
                f"{runs.parent}: {file.read().strip() or 'another preflab'} is running in this workspace",
                "one run at a time",
                "wait for it, or choose another folder with --workspace",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
