"""SHA-256 of files and folders, not read again until the file system says that something changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.files import canonical_hash, file_hash, read_json, write_json


class ContentHashes:
    """Hashes kept in `runs/.hashes.json` for as long as a file's size, times, place and inode are the same.

    The time of change (ctime) cannot be set back by whoever sets the time of modification, so that a file that was
    replaced or edited is read again also where its size and that time are as they were.
    """

    def __init__(self, runs: Path) -> None:
        self.cache = runs / ".hashes.json"
        self.known = _kept(self.cache)
        self.changed = False

    def of(self, path: Path) -> str:
        """The hash of a file, or of every file in a folder with their names."""
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
        """Keeps the hashes for the next time."""
        if self.changed:
            write_json(self.cache, self.known)


def _kept(cache: Path) -> dict[str, list[Any]]:
    """What was kept; nothing where the file is none of ours any more: everything is then read once more."""
    if not cache.exists():
        return {}
    try:
        stored = read_json(cache)
    except PreflabError:
        return {}
    entries = stored.items() if isinstance(stored, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, list) and entry}
