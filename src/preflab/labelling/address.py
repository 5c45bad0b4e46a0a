"""The address of a workspace's labelling app, for links that other commands print, and the lock on serving it.

Only one process serves a workspace at a time. A second server would print links that stop working when it ends, and
the write queue of each process covers only that process. With PostgreSQL several servers may share a workspace, since
writers queue in the database.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from preflab.errors import PreflabError
from preflab.files import read_json, readable_disk_errors, write_json

FILE = "label.json"
LOCK = ".label.lock"
USUAL = "http://127.0.0.1:8400"
"""The default address of `preflab label`."""


def write_address(folder: Path, url: str, *, stays: bool = True) -> None:
    """Store the address at which the app of this workspace is served.

    Args:
        folder: the workspace.
        url: the address.
        stays: whether the address will be the same at the next start; False for a port chosen at random.
    """
    write_json(folder / FILE, {"url": url, "stays": stays})


def address(folder: Path) -> str:
    """The stored address if the app is served there now or will be again; else the default one."""
    path = folder / FILE
    stored = read_json(path) if path.exists() else {}
    return str(stored["url"]) if stored and (stored.get("stays", True) or is_served(folder)) else USUAL


@contextmanager
def sole(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock on serving a workspace while the block runs; the system frees the lock of a process that dies.

    Args:
        folder: the workspace.
        shared: the database allows several servers; nothing is locked.

    Raises:
        PreflabError: another process serves the workspace; the message gives its address and process number.
    """
    if shared:
        yield
        return
    with readable_disk_errors(folder / LOCK):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    with file:
        if not _try_lock(file):
            file.seek(0)
            raise _already_served(folder, file.read().strip())
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _try_lock(file: IO[str]) -> bool:
    """Try to lock the file for half a second, since `is_served` in another process may hold it briefly."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False


def is_served(folder: Path) -> bool:
    """Whether a process of this machine serves the workspace now."""
    try:
        with (folder / LOCK).open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def refuse_served(folder: Path) -> None:
    """Refuse to go on while a workspace is served; for commands that need it exclusively.

    Raises:
        PreflabError: a process of this machine serves the workspace.
    """
    if is_served(folder):
        raise PreflabError(
            f"{folder}: `preflab label` serves it at {address(folder)}", "a workspace that is not in use",
            "end `preflab label` first",
        )  # fmt: skip


def _already_served(folder: Path, process: str) -> PreflabError:
    number = process.partition(" ")[0] or "PID"
    return PreflabError(
        f"{folder}: process {process or 'of an unknown number'} serves it already, at {address(folder)}",
        "one `preflab label` per workspace",
        f"open that address, or end the other process first (`kill {number}`); several servers can share a workspace "
        "only with PostgreSQL",
    )
