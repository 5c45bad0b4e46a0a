"""Puts a backup in a workspace's place; what was there is kept beside it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from preflab.errors import PreflabError
from preflab.store.migrate import backup
from preflab.store.workspace import DATABASE


def restore(source: Path, folder: Path) -> Path | None:
    """Make `source`, a file that `backup` wrote, the database of the workspace in `folder`.

    Nobody else may have the workspace open. The copy is written and checked beside; the former database is renamed.

    Returns:
        where the former database lies now; None when there was none.

    Raises:
        PreflabError: no such file, a file that is no whole preflab database, or a database in use.
    """
    if not source.is_file():
        raise PreflabError(f"{source}: there is no such file", "a file that `preflab backup` wrote", "mend the path")
    _check(source)
    file = folder / DATABASE
    fresh = folder / f"{DATABASE}.restoring"
    folder.mkdir(parents=True, exist_ok=True)
    backup(source, fresh)
    former = None
    if file.exists():
        _settle(file)
        former = _free_name(folder)
        file.rename(former)
    for beside in ("-wal", "-shm"):
        file.with_name(file.name + beside).unlink(missing_ok=True)
    fresh.rename(file)
    return former


def _check(source: Path) -> None:
    """It is whole, and it is ours."""
    try:
        with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as connection:
            whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise PreflabError(f"{source}: {error}", "a database that `preflab backup` wrote") from error
    if whole != "ok" or not {"alembic_version", "judgments", "campaigns"} <= tables:
        raise PreflabError(
            f"{source}: {'not a workspace' if whole == 'ok' else f'damaged ({whole})'}",
            "a whole database that `preflab backup` wrote",
            "take another backup file; nothing was changed",
        )


def _settle(file: Path) -> None:
    """Everything into the one file, so that it can be renamed; refused while somebody writes."""
    try:
        with closing(sqlite3.connect(file, timeout=2)) as connection:
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        busy, said = True, str(error)
    else:
        said = "somebody is using it"
    if busy:
        raise PreflabError(f"{file}: {said}", "a workspace nobody uses", "end `preflab label` and `preflab run` first")


def _free_name(folder: Path) -> Path:
    number = 1
    while (folder / f"{DATABASE}.before-restore-{number}").exists():
        number += 1
    return folder / f"{DATABASE}.before-restore-{number}"
