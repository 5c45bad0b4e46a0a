"""A backup put in the place of a workspace's database; what was there is kept beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from preflab.errors import PreflabError
from preflab.files import keep_private, readable_disk_errors
from preflab.store.database import switch_to_wal
from preflab.store.migrate import known_versions

DATABASE = "preflab.db"


def restore(backup_file: Path | str, workspace_folder: Path | str) -> Path | None:
    """Put a backup (a file that `Workspace.backup` wrote) in the place of the workspace's database.

    Args:
        backup_file: the backup.
        workspace_folder: the workspace; the folder is made where it is missing.

    Returns:
        the file that the replaced database was kept in, None where there was none.

    Raises:
        PreflabError: the backup is damaged, no preflab database or of a newer preflab; the workspace is in use; a
            full disk. Then everything is as it was.
    """
    backup, folder = Path(backup_file), Path(workspace_folder)
    target, partial = folder / DATABASE, folder / f"{DATABASE}.partial"
    check_backup(backup)
    with readable_disk_errors(target):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "runs").mkdir(exist_ok=True)
            _copy(backup, partial)
            check_backup(partial)
            kept = _set_aside(target) if target.exists() else None
            _put_in_place(partial, target, kept)
        finally:
            partial.unlink(missing_ok=True)
    switch_to_wal(target)
    return kept


def check_backup(file: Path) -> str:
    """Read every page of the file; returns the version of its tables.

    Raises:
        PreflabError: it is damaged, no preflab database, or of a newer preflab.
    """
    expected = "a file that `preflab backup` wrote"
    if not file.is_file():
        raise PreflabError(f"{file}: there is no such file", expected)
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise PreflabError(f"{file}: {error}", expected, "use an older backup") from None
    if verdict != "ok":
        raise PreflabError(f"{file}: the database is damaged: {verdict}", expected, "use an older backup")
    if version is None or version[0] not in known_versions():
        found = "no version" if version is None else f"version {version[0]}"
        raise PreflabError(f"{file}: tables of {found}", f"one of {', '.join(known_versions())}", "update preflab")
    return str(version[0])


def _copy(source: Path, target: Path) -> None:
    """A copy that is on the disk when this returns."""
    keep_private(target)
    shutil.copyfile(source, target)
    with target.open("rb+") as copied:
        os.fsync(copied.fileno())


def _put_in_place(partial: Path, target: Path, kept: Path | None) -> None:
    """The last step; if it fails, the database that was set aside comes back."""
    try:
        partial.replace(target)
    except OSError:
        if kept is not None:
            kept.replace(target)
        raise


def _set_aside(target: Path) -> Path:
    """The database under another name, all that was written to it inside; refused while somebody has it open."""
    name = f"{target.name}.replaced-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    kept = target.with_name(name)
    try:
        with closing(sqlite3.connect(target, timeout=1)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")  # takes the log in, and needs the file for itself
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise PreflabError(
                f"{target}: it is in use", "a workspace nobody has open", "end `preflab label`"
            ) from None
        raise PreflabError(f"{target}: {error}", "a database that can be set aside") from None
    except sqlite3.DatabaseError:  # damaged, which is why one restores: kept as it lies, its log beside it
        for ending in ("-wal", "-shm"):
            log = target.with_name(target.name + ending)
            if log.exists():
                log.replace(kept.with_name(kept.name + ending))
    target.replace(kept)
    return kept
