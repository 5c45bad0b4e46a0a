"""Atomic writing: a crash leaves either the old file or the new one, never half of one.

Text, JSON and whole folders are written under a temporary name in the same folder, and then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with readable_disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_files(files: Mapping[Path, bytes], *, sync: bool = True) -> None:
    """Write several files that belong together: all are written under temporary names before the first is renamed.

    Without `sync` the disk is not waited for, about 10 ms a file. A killed process still leaves whole files, but after
    a power cut a new file may be empty.

    Raises:
        PreflabError: the disk is full or a folder cannot be written; temporary files are removed then.
    """
    waiting = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in files}
    with readable_disk_errors(next(iter(files))):
        try:
            for path, content in files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                waiting[path].write_bytes(content)
                if sync:
                    _sync_file(waiting[path])
            for path, temporary in waiting.items():
                os.replace(temporary, path)
        finally:
            for temporary in waiting.values():
                temporary.unlink(missing_ok=True)


KERNEL = ("/proc", "/sys")
"""Folders of virtual files, which the kernel generates when they are read."""


def check_regular(path: Path) -> None:
    """Refuse pipes, sockets and devices, which may block for ever or never end when read.

    Virtual files of the kernel (`/proc`, `/sys`) are refused too: they count as regular files, but some block and some
    fail when read. A missing path is accepted: opening it gives the error.

    Raises:
        PreflabError: the path is neither a file on a disk nor a folder.
    """
    if path.is_file() and any(path.resolve().is_relative_to(folder) for folder in KERNEL):
        raise PreflabError(
            f"{path}: a virtual file of the kernel", "a file on a disk", "write its content to a file first"
        )
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
    """Make a file readable by its owner alone (mode 0600); create it empty if it is missing.

    SQLite gives the files that it puts beside its database the same mode. The mode stays as it is where it cannot be
    changed: a file of another user, or a read-only disk.
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


def run_folder_name(stage: str, key: str) -> str:
    """The name of a stage's run folder: `ppo-3f2a…`; for a stage of one seed `ppo.seed-1-3f2a…`."""
    return f"{stage.replace('/', '.')}-{key[:12]}"


def read_json(path: Path) -> Any:
    """The content of a JSON file.

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
    """Append one row to a JSON-lines file; an incomplete last line, left by a killed run, is removed first."""
    with readable_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _cut_torn_line(path: Path) -> None:
    """Remove an incomplete last line from a file."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file that preflab wrote, without an incomplete last line; [] when there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def count_rows(folder: Path) -> dict[str, int]:
    """Name of each JSON-lines file in a folder → the number of its complete rows."""
    return {path.name: _count_lines(path) for path in sorted(folder.glob("*.jsonl"))}


def describe_cut_files(folder: Path, rows: Mapping[str, int]) -> list[str]:
    """One phrase for each file of a folder that has lost rows: `metrics cut: 30 of 60 rows`.

    Args:
        folder: of the files.
        rows: name of each file → the rows that it had (`count_rows`).
    """
    rows_now = {name: _count_lines(folder / name) for name in rows}
    return [
        f"{name.removesuffix('.jsonl')} cut: {rows_now[name]:,} of {num:,} rows"
        for name, num in rows.items()
        if rows_now[name] < num
    ]


def _count_lines(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(2**20), b""))


def keep_rows(path: Path, num_steps: int) -> None:
    """Keep the rows of a metrics file whose step is below `num_steps`, so that a resumed run repeats none."""
    rows = [row for row in read_jsonl(path) if row["step"] < num_steps]
    if path.exists():
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `folder` when the block succeeds and is removed when it raises.

    Raises:
        PreflabError: the disk is full or the folder cannot be written; the former folder is untouched.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    with readable_disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            _use_default_modes(temporary)
            _sync(temporary)
            _take_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def readable_disk_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error in writing to `path` into a `PreflabError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        raise PreflabError(
            f"{path}: could not be written ({error.strerror or error})",
            "a disk with room and a folder that may be written to",
            "free some room and run the same command again; the former content is untouched",
        ) from error


def _take_place(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`; a former `folder` is renamed first, and restored if the rename fails."""
    if not folder.exists():
        os.replace(temporary, folder)
        return
    former = folder.with_name(f".{folder.name}.{os.getpid()}.former")
    os.replace(folder, former)
    try:
        os.replace(temporary, folder)
    except OSError:
        os.replace(former, folder)
        raise
    shutil.rmtree(former)


def _use_default_modes(folder: Path) -> None:
    """Give every file of a new folder at least the mode of an ordinary new file, by the user's umask.

    safetensors writes files of mode 0600, which a server that runs as another user could not read.
    """
    default = folder.stat().st_mode & 0o666  # a new folder has 0777 less the umask
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and default & ~mode:
            path.chmod(stat.S_IMODE(mode) | default)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _sync_file(path)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, where the file system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
