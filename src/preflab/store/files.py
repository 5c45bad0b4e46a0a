"""Files written beside and renamed: after a crash or a full disk the old state is there, or the new one, whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preflab.errors import PreflabError


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A folder beside `target` to write into; on success it takes the place of `target`, else it is removed.

    Raises:
        PreflabError: the disk is full, or the place cannot be written.
    """
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _to_disk(partial)
        _take_place(partial, target)
    except OSError as error:
        raise in_words(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_all(files: dict[Path, bytes]) -> None:
    """Write several files of one folder: all are written beside, then renamed one after the other.

    Raises:
        PreflabError: the disk is full, or the place cannot be written; none of the new files is left then.
    """
    waiting = {target: target.with_name(f"{target.name}.{os.getpid()}.partial") for target in files}
    try:
        for target, data in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            waiting[target].write_bytes(data)
            _sync(waiting[target])
        for target, partial in waiting.items():
            os.replace(partial, target)
    except OSError as error:
        raise in_words(next(iter(files)), error) from error
    finally:
        for partial in waiting.values():
            partial.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def in_words(path: Path, error: OSError) -> PreflabError:
    """The one error for a file that could not be written."""
    return PreflabError(
        f"{path}: could not be written: {error.strerror or error}",
        "room on the disk and the right to write there",
        "nothing was left half-written; make room and run the command again",
    )


def _take_place(partial: Path, target: Path) -> None:
    """Rename a folder over another one; the old one is put aside first and comes back if the rename fails."""
    if not target.exists():
        os.replace(partial, target)
        return
    aside = target.with_name(f"{target.name}.{os.getpid()}.old")
    os.replace(target, aside)
    try:
        os.replace(partial, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside)


def _to_disk(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            _sync(file)


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
