"""Writing files so that a crash leaves the old one or the new one, never half of one.

The one place for it: text, JSON, JSON lines and whole folders are written beside their place and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        PreflabError: the disk is full or the folder cannot be written; the former file is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with readable_disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write several files that belong together: all are written beside their places before the first is renamed.

    Raises:
        PreflabError: the disk is full or a folder cannot be written; none of the new files is left then.
    """
    waiting = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in files}
    with readable_disk_errors(next(iter(files))):
        try:
            for path, content in files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                waiting[path].write_bytes(content)
                _sync_file(waiting[path])
            for path, beside in waiting.items():
                os.replace(beside, path)
        finally:
            for beside in waiting.values():
                beside.unlink(missing_ok=True)


KERNEL = ("/proc", "/sys")
"""Folders whose files the kernel makes up while they are read."""


def check_regular(path: Path) -> None:
    """Refuse what is neither a file nor a folder: a pipe waits for ever, a device never ends.

    The kernel's own files (`/proc`, `/sys`) call themselves regular; some of them wait too, others fail when read.

    Raises:
        PreflabError: there is something of that kind; a path where nothing is stays for who opens it.
    """
    if path.is_file() and any(path.resolve().is_relative_to(folder) for folder in KERNEL):
        raise PreflabError(f"{path}: a file of the kernel", "a file on a disk", "write its content to a file first")
    if not path.exists() or path.is_file() or path.is_dir():
        return
    kinds = {"a pipe": path.is_fifo(), "a socket": path.is_socket()}
    kind_of_file = next((kind for kind, true in kinds.items() if true), "a device")
    raise PreflabError(
        f"{path}: {kind_of_file}, not a file",
        "a file, which can be read more than once",
        "write its content to a file first",
    )


def keep_private(path: Path) -> None:
    """Let nobody but its owner read a file, which is made where it is missing.

    What SQLite puts beside it is as private. A file of somebody else, or on a disk that cannot be written, stays as it
    is.
    """
    with readable_disk_errors(path):
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))
    if path.stat().st_mode & 0o077:
        with suppress(OSError):
            path.chmod(0o600)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        PreflabError: it cannot be read to its end, or is no regular file.
    """
    check_regular(path)
    with path.open("rb") as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise PreflabError(
                f"{path}: could not be read ({error.strerror or error})", "a file that can be read", "check its disk"
            ) from error


def canonical_hash(content: Any) -> str:
    """24 hex digits of SHA-256 over canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def write_json(path: Path, content: Any) -> None:
    """Write JSON (indented, keys in the given order, no NaN) whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        PreflabError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PreflabError(f"{path}: no such file", "a JSON file", "run the stage that writes it") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PreflabError(f"{path}: {error}", "a JSON file", "restore it, or run the stage that writes it") from error


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row to a JSON-lines file; a torn last line, left by a run that was killed, makes room for it."""
    with readable_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _cut_torn_line(path: Path) -> None:
    """Cut a file back to the end of its last whole line."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a JSON-lines file that preflab wrote; [] when there is none; a torn last line is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def rows_in(folder: Path) -> dict[str, int]:
    """Name of each JSON-lines file in a folder → its whole rows."""
    return {path.name: _num_rows(path) for path in sorted(folder.glob("*.jsonl"))}


def cut_files(folder: Path, rows: Mapping[str, int]) -> list[str]:
    """What lacks in the files of a folder that had so many rows: `metrics cut: 30 of 60 rows`."""
    there = {name: _num_rows(folder / name) for name in rows}
    return [
        f"{name.removesuffix('.jsonl')} cut: {there[name]:,} of {num:,} rows"
        for name, num in rows.items()
        if there[name] < num
    ]


def _num_rows(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(2**20), b""))


def keep_rows(path: Path, num_steps: int) -> None:
    """Cut a metrics file back to rows of steps before `num_steps`, so that a resumed run does not repeat any."""
    rows = [row for row in read_jsonl(path) if row["step"] < num_steps]
    if path.exists():
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill beside `folder`; it takes its place when the block ends well, and vanishes when it does not.

    Raises:
        PreflabError: the disk is full or the folder cannot be written; the former folder is untouched.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    with readable_disk_errors(folder):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
            _sync(beside)
            _take_place(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def readable_disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        raise PreflabError(
            f"{path}: could not be written ({error.strerror or error})",
            "a disk with room and a folder that may be written to",
            "free some room and run the same command again: what was there before is untouched",
        ) from error


def _take_place(beside: Path, folder: Path) -> None:
    """Rename a folder over another one; the former is put aside first and comes back if the rename fails."""
    if not folder.exists():
        os.replace(beside, folder)
        return
    former = folder.with_name(f".{folder.name}.{os.getpid()}.former")
    os.replace(folder, former)
    try:
        os.replace(beside, folder)
    except OSError:
        os.replace(former, folder)
        raise
    shutil.rmtree(former)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _sync_file(path)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder be on the disk, where its file system knows how to."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
