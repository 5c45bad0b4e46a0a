"""Opens the workspace of a command: the SQLite file in its folder, or the PostgreSQL database in the environment."""

from __future__ import annotations

import os
from pathlib import Path

from preflab.store.workspace import DATABASE, Workspace

VARIABLE = "PREFLAB_DATABASE"
"""Environment variable with a database URL, `postgresql://user@host/name`, that replaces the folder's SQLite file.
`runs/` stays in the folder. It is not a setting or an option, because a URL may contain a password, which must not
appear in a recipe or in a list of processes."""


def opened(path: Path, *, create: bool = False) -> Workspace:
    """Open the workspace in this folder.

    Raises:
        PreflabError: as for `Workspace.open`.
    """
    return Workspace.open(path, create=create, url=os.environ.get(VARIABLE) or None)


def is_there(path: Path) -> bool:
    """Whether there is a workspace to open: a database in the folder, or one named by the environment."""
    return bool(os.environ.get(VARIABLE)) or (path / DATABASE).is_file()


def is_shared() -> bool:
    """Whether the records are in a database that several servers may share."""
    return bool(os.environ.get(VARIABLE))
