"""Opens the workspace of a command: its folder's SQLite file, or the PostgreSQL database the environment names."""

from __future__ import annotations

import os
from pathlib import Path

from preflab.store.workspace import DATABASE, Workspace

VARIABLE = "PREFLAB_DATABASE"
"""`postgresql://user@host/name`: where the records lie instead of the folder's own file; `runs/` stays in the folder.
A variable, because a URL may hold a password, which belongs in no recipe and no list of processes."""


def opened(path: Path, *, create: bool = False) -> Workspace:
    """The workspace in this folder.

    Raises:
        PreflabError: as `Workspace.open`.
    """
    return Workspace.open(path, create=create, url=os.environ.get(VARIABLE) or None)


def is_there(path: Path) -> bool:
    """Whether there is a workspace to open: a database in the folder, or the one the environment names."""
    return bool(os.environ.get(VARIABLE)) or (path / DATABASE).is_file()


def is_shared() -> bool:
    """Whether the records lie in a database that several servers may share."""
    return bool(os.environ.get(VARIABLE))
