"""What a file is by its name and its first bytes, and its bytes, also where it is gzipped."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal, cast

from preflab.errors import PreflabError

Kind = Literal["jsonl", "list", "table", "parquet", "arrow", "folder", "hub"]
"""What a path holds: JSON lines, a JSON list, delimited cells, columns, or several files."""
SUFFIXES: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "table",
    ".tsv": "table",
    ".tab": "table",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
"""Ending of a file's name, without `.gz` → kind; a `.json` that opens with a bracket is a list."""
BEGINNINGS = {
    b"\xff\xfe": "UTF-16, as Excel's Unicode text: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
    b"\x1f\x8b": "gzipped: end its name in .gz",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it",
    b"PK\x03\x04": "a ZIP archive or an Excel file: unpack it, or save it as CSV",
    b"PAR1": "Parquet: end its name in .parquet",
    b"version https://git-lfs": "a pointer of Git LFS and not the file: fetch it with `git lfs pull` or `hf download`",
}
"""First bytes → what a file is, and what helps."""
UNNAMED = ("", ".txt")
"""Endings that say nothing: the first character decides between JSON lines and a list."""


def suffix_of(path: Path) -> str:
    """The ending of a file's name that says its kind, `.gz` not counted, in small letters."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def is_gzipped(path: Path) -> bool:
    """Whether the file's name says that it is gzipped."""
    return path.name.lower().endswith(".gz")


def kind_of_bytes(data: bytes) -> str:
    """What the first bytes of a file are that is not what its name says; "" where that cannot be told."""
    return next((said for begin, said in BEGINNINGS.items() if data.startswith(begin)), "")


def wide_text(data: bytes) -> str:
    """What text is that has zeros between its letters and no mark at its beginning; "" for any other."""
    if data.count(0) * 3 < len(data) or len(data) < 4:
        return ""
    return "UTF-32" if data.count(0) * 2 > len(data) + 1 else "UTF-16"


def opened(path: Path) -> IO[bytes]:
    """The bytes of a text file, unpacked where it is gzipped."""
    return cast(IO[bytes], _Gzip(path) if is_gzipped(path) else path.open("rb"))


class _Gzip(gzip.GzipFile):
    """A gzipped file whose faults are said in words."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def read(self, size: int | None = -1) -> bytes:
        return cast(bytes, self._in_words(super().read, size))

    def readline(self, size: int | None = -1) -> bytes:
        return cast(bytes, self._in_words(super().readline, size))

    def readinto(self, buffer: Any) -> int:
        return cast(int, self._in_words(super().readinto, buffer))

    def read1(self, size: int = -1) -> bytes:
        return cast(bytes, self._in_words(super().read1, size))

    def _in_words(self, read: Callable[[Any], Any], argument: Any) -> Any:
        import zlib

        try:
            return read(argument)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise PreflabError(f"{self.path}: {error}", "a whole gzip file", "fetch it again") from error
