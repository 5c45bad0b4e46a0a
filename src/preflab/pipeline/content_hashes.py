"""SHA-256 of files and folders, cached until the file system reports a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.files import canonical_hash, file_hash, read_json, write_json


class ContentHashes:
    """Hashes cached in `runs/.hashes.json` for as long as a file's size, times, device and inode stay the same.

    Programs can set the time of modification (mtime), but not the time of change (ctime). A file that was replaced or
    edited is therefore read again even if its size and mtime are the same as before.
    """

    def __init__(self, runs: Path) -> None:
        self.cache = runs / ".hashes.json"
        self.known = _kept(self.cache)
        self.changed = False

    def of(self, path: Path) -> str:
        """The hash of a file, or of the names and contents of all files in a folder."""
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            return canonical_hash([[file.relative_to(path).as_posix(), self._file(file)] for file in files])
        return self._file(path)

    def _file(self, path: Path) -> str:
        stat, name = path.stat(), str(path)
        signs = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_dev, stat.st_ino]
        if name in self.known and self.known[name][:-1] == signs:
            return str(self.known[name][-1])
        hashed = file_hash(path)
        self.known[name], self.changed = [*signs, hashed], True
        return hashed

    def save(self) -> None:
        """Write the hashes to the cache file if they have changed."""
        if self.changed:
            write_json(self.cache, self.known)


def _kept(cache: Path) -> dict[str, list[Any]]:
    """The cached hashes; empty if the cache file is missing or not valid, so that all files are read again."""
    if not cache.exists():
        return {}
    try:
        stored = read_json(cache)
    except PreflabError:
        return {}
    entries = stored.items() if isinstance(stored, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, list) and entry}
