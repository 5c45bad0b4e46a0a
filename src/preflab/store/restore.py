"""A backup put in the place of a workspace's database; what was there is kept beside it.

All is checked and copied beside its place first: the database, brought to the tables of this version, and the images.
Then the new images join the old ones, which changes nothing for the old database, and one rename puts the new database
in the old one's place. Killed at any moment, the workspace has the one or the other, whole.
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
    """What `restore` did."""

    former: Path | None
    """The file that the replaced database is kept in; None where there was none."""
    num_images: int
    """Images that came back."""


WrongRow = Callable[[Path], str | None]
"""A database with the tables of this version → what is wrong with its rows, in words; None: nothing."""


def check_first(backup_file: Path | str, wrong_row: WrongRow | None = None) -> tuple[str, list[Path]]:
    """The version of a backup's tables, and the images beside it; nothing is changed.

    Raises:
        PreflabError: the backup is damaged, no preflab database, of a newer preflab, or has images that are none; a row
            of the tables of this version is wrong.
    """
    backup = Path(backup_file)
    version, images = check_backup(backup), check_images(images_of_backup(backup))
    if version == SCHEMA_VERSION:
        _check_rows(backup, backup, wrong_row)
    return version, images


def _check_rows(file: Path, backup: Path, wrong_row: WrongRow | None) -> None:
    """Refuse the backup for a row of the file, which is the backup or its copy."""
    wrong = wrong_row(file) if wrong_row is not None else None
    if wrong is not None:
        raise PreflabError(f"{backup}: {wrong}", EXPECTED, OLDER)


def restore(backup_file: Path | str, workspace_folder: Path | str, wrong_row: WrongRow | None = None) -> Restored:
    """Put a backup (a file that `Workspace.backup` wrote) and the images beside it in a workspace's place.

    Args:
        backup_file: the backup; of an older version, its copy is brought up to date.
        workspace_folder: the workspace; the folder is made where it is missing.
        wrong_row: checks the rows before anything is replaced; the labelling app's is `labelling.row_checks.wrong_row`.

    Raises:
        PreflabError: the backup is damaged, no preflab database, of a newer preflab, or has images that are none; a row
            is wrong; the workspace is in use; a full disk. Then everything is as it was.
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
            _copy(backup, partial, version)
            if version != SCHEMA_VERSION:
                _check_rows(partial, backup, wrong_row)
            for image in missing:
                copy_image(image, waiting / image.name)
            _join(waiting, folder / FOLDER, moved)
            former = _swap(partial, target)
        except BaseException:
            if partial.exists():  # else the new database is in its place, and these are its images
                for path in moved:
                    path.unlink(missing_ok=True)
            raise
        finally:
            _remove(partial, waiting)
    switch_to_wal(target)
    return Restored(former, len(missing))


def _copy(source: Path, target: Path, version: str) -> None:
    """A copy with the tables of this version, on the disk when this returns."""
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
                f"{source}: a row that version {version} never wrote: {error}"[:300], EXPECTED, OLDER
            ) from None
        finally:
            engine.dispose()
    with target.open("rb+") as copied:
        os.fsync(copied.fileno())
    check_backup(target)


def _join(waiting: Path, folder: Path, moved: list[Path]) -> None:
    """Put the copied images among those of the workspace; `moved` grows by where they are now."""
    if waiting.is_dir():
        folder.mkdir(exist_ok=True)
        for image in sorted(waiting.iterdir()):
            moved.append(folder / image.name)
            os.replace(image, moved[-1])
        sync_folder(folder)


def _swap(partial: Path, target: Path) -> Path | None:
    """The one step that counts; if it fails, what was prepared for it goes away again."""
    former: Path | None = None
    try:
        if target.exists():
            _take_log_in(target)
            former = _kept(target)
        os.replace(partial, target)
        sync_folder(target.parent)
    except BaseException:
        if former is not None and partial.exists():
            _move_logs(former, target)
            former.unlink(missing_ok=True)
        raise
    return former


def _take_log_in(target: Path) -> None:
    """All that was written to the database is in its file afterwards; refused while somebody has it open."""
    try:
        with closing(sqlite3.connect(target, timeout=1)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")  # needs the file for itself
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise PreflabError(
                f"{target}: it is in use", "a workspace nobody has open", "end `preflab label`"
            ) from None
        raise PreflabError(f"{target}: {error}", "a database that can be set aside") from None
    except sqlite3.DatabaseError:  # damaged, which is why one restores
        return


def _kept(target: Path) -> Path:
    """The database under a second name; of a damaged one, its log goes with it, since the new one must not read it."""
    kept = target.with_name(f"{target.name}.replaced-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    _second_name(target, kept)
    _move_logs(target, kept)
    sync_folder(target.parent)
    return kept


def _move_logs(source: Path, target: Path) -> None:
    """What lies beside a database of this name goes beside one of another name."""
    for ending in LOGS:
        log = source.with_name(source.name + ending)
        if log.exists():
            log.replace(target.with_name(target.name + ending))


def _second_name(target: Path, kept: Path) -> None:
    try:
        os.link(target, kept)
    except OSError:  # a file system without links
        keep_private(kept)
        shutil.copyfile(target, kept)
        with kept.open("rb+") as copied:
            os.fsync(copied.fileno())


def _remove(partial: Path, waiting: Path) -> None:
    """What this call, or one that was killed, left beside its place."""
    with suppress(OSError):
        for ending in ("", *LOGS):
            partial.with_name(partial.name + ending).unlink(missing_ok=True)
    shutil.rmtree(waiting, ignore_errors=True)
