"""Where the labelling app of a workspace is reached, for the links that other commands print; and that one serves it.

A second server would print links that end with it while the first one goes on, and its writers would queue for
themselves. Behind PostgreSQL several may share a workspace, since writers queue in the database.
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
"""Where `preflab label` serves when nothing else is said."""


def write_address(folder: Path, url: str, *, stays: bool = True) -> None:
    """Remember where the app of this workspace is served.

    Args:
        folder: the workspace.
        url: the address.
        stays: it will be the same at the next start; a port that was free by chance will not.
    """
    write_json(folder / FILE, {"url": url, "stays": stays})


def address(folder: Path) -> str:
    """The address the app is served at, or was at last and will be again; else the usual one."""
    path = folder / FILE
    known = read_json(path) if path.exists() else {}
    return str(known["url"]) if known and (known.get("stays", True) or is_served(folder)) else USUAL


@contextmanager
def sole(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """The right to serve a workspace while the block runs; the system takes it from a process that died.

    Args:
        folder: the workspace.
        shared: its database takes several servers; then nothing is locked.

    Raises:
        PreflabError: another process serves it; its address and number are named.
    """
    if shared:
        yield
        return
    with readable_disk_errors(folder / LOCK):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    with file:
        if not _locked(file):
            file.seek(0)
            raise _served(folder, file.read().strip())
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _locked(file: IO[str]) -> bool:
    """Whether the lock was had within half a second: `is_served` of another process holds it for a moment."""
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
    """For what needs a workspace to itself.

    Raises:
        PreflabError: a process of this machine serves it.
    """
    if is_served(folder):
        raise PreflabError(
            f"{folder}: it is in use: `preflab label` serves it at {address(folder)}", "a workspace nobody has open",
            "end `preflab label` first",
        )  # fmt: skip


def _served(folder: Path, process: str) -> PreflabError:
    number = process.partition(" ")[0] or "PID"
    return PreflabError(
        f"{folder}: process {process or 'of an unknown number'} serves it already, at {address(folder)}",
        "one `preflab label` a workspace",
        f"open that address, or end the other one first (`kill {number}`); several servers share a workspace only "
        "behind PostgreSQL",
    )
