"""Determines a file's kind from its name and first bytes, and opens text files, gzipped or not."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal, cast

from preflab.errors import PreflabError

Kind = Literal["jsonl", "list", "table", "parquet", "arrow", "folder", "hub"]
"""Kinds of sources: JSON lines, a JSON list, a delimited table, columnar files, a folder, a data set on the Hub."""
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
"""Ending of a file's name, without `.gz` → kind; a `.json` that begins with a bracket is a list."""
BEGINNINGS = {
    b"\xff\xfe": "UTF-16, as Excel's Unicode text: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
    b"\x1f\x8b": "gzipped: end its name in .gz",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it",
    b"PK\x03\x04": "a ZIP archive or an Excel file: unpack it, or save it as CSV",
    b"PAR1": "Parquet: end its name in .parquet",
    b"version https://git-lfs": "a pointer of Git LFS and not the file: fetch it with `git lfs pull` or `hf download`",
}
"""First bytes → the kind of file, and what to do."""
UNNAMED = ("", ".txt")
"""Endings of no particular kind: the first character decides between JSON lines and a JSON list."""


def suffix_of(path: Path) -> str:
    """The lower-case ending of a file's name, without a final `.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def is_gzipped(path: Path) -> bool:
    """Whether the file's name ends in `.gz`."""
    return path.name.lower().endswith(".gz")


def kind_of_bytes(data: bytes) -> str:
    """The kind of file and advice, by its first bytes (`BEGINNINGS`); "" if they are not known."""
    return next((kind for begin, kind in BEGINNINGS.items() if data.startswith(begin)), "")


def wide_text(data: bytes) -> str:
    """`UTF-16` or `UTF-32` for text without a byte-order mark but with many zero bytes; "" for any other."""
    if data.count(0) * 3 < len(data) or len(data) < 4:
        return ""
    return "UTF-32" if data.count(0) * 2 > len(data) + 1 else "UTF-16"


def opened(path: Path) -> IO[bytes]:
    """Open a text file as bytes, decompressed if it is gzipped."""
    return cast(IO[bytes], _Gzip(path) if is_gzipped(path) else path.open("rb"))


class _Gzip(gzip.GzipFile):
    """A gzipped file whose errors are raised as `PreflabError`."""

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
