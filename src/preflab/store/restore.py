"""Replaces a workspace's database by a backup; the former database is kept beside it.

First everything is checked and copied under temporary names: the database, migrated to this version, and the images.
Then the new images are added to the old ones, which does not affect the old database, and one rename replaces the
database. If the process is killed at any moment, the workspace has either database, whole.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from preflab.errors import PreflabError
from preflab.files import keep_private, readable_disk_errors, sync_folder
from preflab.store.backup_checks import EXPECTED, OLDER, check_backup, check_images, check_room
from preflab.store.database import sqlite_engine, switch_to_wal
from preflab.store.images import FOLDER, copy_image, images_of_backup
from preflab.store.migrate import bring_up_to_date
from preflab.store.schema import SCHEMA_VERSION

DATABASE = "preflab.db"
LOGS = ("-wal", "-shm", "-journal")


class Restored(NamedTuple):
    """The result of `restore`."""

    former: Path | None
    """The file that holds the replaced database; None if there was none."""
    num_images: int
    """Number of images restored."""


WrongRow = Callable[[Path], str | None]
"""Function from a database file with the tables of this version to the first fault of a row, in words, or None."""


def check_first(backup_file: Path | str, wrong_row: WrongRow | None = None) -> tuple[str, list[Path]]:
    """Check a backup without changing anything; returns the version of its tables and the images beside it.

    Rows are checked only if the backup has the tables of this version.

    Raises:
        PreflabError: the backup is damaged, is not a preflab database, comes from a newer preflab, or has an image
            folder with links or special files; a row is wrong.
    """
    backup = Path(backup_file)
    version, images = check_backup(backup), check_images(images_of_backup(backup))
    if version == SCHEMA_VERSION:
        _check_rows(backup, backup, wrong_row)
    return version, images


def _check_rows(file: Path, backup: Path, wrong_row: WrongRow | None) -> None:
    """Refuse the backup if a row of `file`, the backup itself or its migrated copy, is wrong."""
    wrong = wrong_row(file) if wrong_row is not None else None
    if wrong is not None:
        raise PreflabError(f"{backup}: {wrong}", EXPECTED, OLDER)


def restore(backup_file: Path | str, workspace_folder: Path | str, wrong_row: WrongRow | None = None) -> Restored:
    """Replace a workspace's database by a backup (a file from `Workspace.backup`) and add the images beside the backup.

    Args:
        backup_file: the backup; if it is of an older version, its copy is migrated.
        workspace_folder: the workspace; the folder is created if it is missing.
        wrong_row: checks the rows before anything is replaced; the labelling app's is `labelling.row_checks.wrong_row`.

    Raises:
        PreflabError: the backup is damaged, is not a preflab database, comes from a newer preflab, or has an image
            folder with links or special files; an image does not match its name; a row is wrong; the workspace is in
            use; the disk is full. The workspace is then unchanged.
    """
    backup, folder = Path(backup_file), Path(workspace_folder)
    target, partial, waiting = folder / DATABASE, folder / f"{DATABASE}.partial", folder / f"{FOLDER}.partial"
    version, images = check_first(backup, wrong_row)
    missing = [image for image in images if not (folder / FOLDER / image.name).is_file()]
    check_room(folder, [2 * backup.stat().st_size, *(image.stat().st_size for image in missing)])
    moved: list[Path] = []
    with readable_disk_errors(target):
        _remove(partial, waiting)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "runs").mkdir(exist_ok=True)
            _copy_database(backup, partial, version)
            if version != SCHEMA_VERSION:
                _check_rows(partial, backup, wrong_row)
            for image in missing:
                copy_image(image, waiting / image.name)
            _move_images(waiting, folder / FOLDER, moved)
            former = _replace_database(partial, target)
        except BaseException:
            if partial.exists():  # if not, the new database is in place and needs these images
                for path in moved:
                    path.unlink(missing_ok=True)
            raise
        finally:
            _remove(partial, waiting)
    switch_to_wal(target)
    return Restored(former, len(missing))


def _copy_database(source: Path, target: Path, version: str) -> None:
    """Copy a database, migrate the copy to this version and flush it to the disk."""
    keep_private(target)
    shutil.copyfile(source, target)
    if version != SCHEMA_VERSION:
        with closing(sqlite3.connect(target)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
        engine = sqlite_engine(target)
        try:
            bring_up_to_date(engine, None)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PreflabError(
                f"{source}: a row that version {version} cannot have written: {error}"[:300], EXPECTED, OLDER
            ) from None
        finally:
            engine.dispose()
    with target.open("rb+") as copied:
        os.fsync(copied.fileno())
    check_backup(target)


def _move_images(waiting: Path, folder: Path, moved: list[Path]) -> None:
    """Move the copied images into the workspace's folder and append their new paths to `moved`."""
    if waiting.is_dir():
        folder.mkdir(exist_ok=True)
        for image in sorted(waiting.iterdir()):
            moved.append(folder / image.name)
            os.replace(image, moved[-1])
        sync_folder(folder)


def _replace_database(partial: Path, target: Path) -> Path | None:
    """Rename `partial` to `target` and return the file with the former database; undone if it fails."""
    former: Path | None = None
    try:
        if target.exists():
            _merge_log(target)
            former = _keep_former(target)
        os.replace(partial, target)
        sync_folder(target.parent)
    except BaseException:
        if former is not None and partial.exists():
            _move_logs(former, target)
            former.unlink(missing_ok=True)
        raise
    return former


def _merge_log(target: Path) -> None:
    """Merge the write-ahead log into the database file; refused while another process has the database open."""
    try:
        with closing(sqlite3.connect(target, timeout=1)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")  # needs exclusive access
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise PreflabError(
                f"{target}: it is in use", "a workspace that no process has open", "end `preflab label`"
            ) from None
        raise PreflabError(f"{target}: {error}", "a database that can be set aside") from None
    except sqlite3.DatabaseError:  # a damaged database may well be the reason for the restore
        return


def _keep_former(target: Path) -> Path:
    """Give the database a second name and return it; a remaining log moves along, lest the new database reads it."""
    former = target.with_name(f"{target.name}.replaced-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    _link_or_copy(target, former)
    _move_logs(target, former)
    sync_folder(target.parent)
    return former


def _move_logs(source: Path, target: Path) -> None:
    """Rename the log files of the database `source` to those of the database `target`."""
    for ending in LOGS:
        log = source.with_name(source.name + ending)
        if log.exists():
            log.replace(target.with_name(target.name + ending))


def _link_or_copy(target: Path, former: Path) -> None:
    try:
        os.link(target, former)
    except OSError:  # a file system without hard links
        keep_private(former)
        shutil.copyfile(target, former)
        with former.open("rb+") as copied:
            os.fsync(copied.fileno())


def _remove(partial: Path, waiting: Path) -> None:
    """Remove the temporary files of this call, or of an earlier one that was killed."""
    with suppress(OSError):
        for ending in ("", *LOGS):
            partial.with_name(partial.name + ending).unlink(missing_ok=True)
    shutil.rmtree(waiting, ignore_errors=True)
