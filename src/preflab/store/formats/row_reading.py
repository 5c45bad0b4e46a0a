"""Reads rows one at a time with their lines: text files, Parquet, Arrow, folders with splits, Hub data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from preflab.errors import PreflabError
from preflab.files import check_regular
from preflab.store.formats.columnar import arrow_rows, parquet_rows
from preflab.store.formats.delimited import refuse_table, table_rows
from preflab.store.formats.file_kinds import (
    SUFFIXES,
    UNNAMED,
    Kind,
    is_gzipped,
    kind_of_bytes,
    opened,
    suffix_of,
    wide_text,
)
from preflab.store.formats.folders import choose_files
from preflab.store.formats.hub import hub_rows, is_hub_id
from preflab.store.formats.json_lines import json_lines
from preflab.store.formats.json_list import json_list
from preflab.store.formats.json_rows import Numbered

READERS: dict[Kind, Callable[[Path], Iterator[Numbered]]] = {
    "jsonl": json_lines,
    "list": json_list,
    "table": table_rows,
    "parquet": parquet_rows,
    "arrow": arrow_rows,
}
"""Kind of file → function that yields its rows."""


def numbered_rows(path: Path, split: str | None = None) -> Iterator[Numbered]:
    """The rows of a file, of a folder's split or of a Hub data set, without reading all of it at once.

    Args:
        path: a file, a folder, or `owner/name` of a data set on the Hub if there is no such path.
        split: of a folder or data set; None: the only one.

    Raises:
        PreflabError: no such file, an unsupported kind of file, a file that cannot be read at all, no such split, or
            several splits and none named.
    """
    kind = kind_of_path(path)
    if kind == "folder":
        return _folder_rows(path, split)
    if kind == "hub":
        return hub_rows(path, split)
    if split is not None:
        raise PreflabError(f"{path}: a file has no splits", "a folder with several splits", f"leave out {split!r}")
    return file_rows(path)


def _folder_rows(folder: Path, split: str | None) -> Iterator[Numbered]:
    """The rows of a folder's split, numbered consecutively over its files."""
    files = choose_files(folder, split)
    line = 0
    for file in files:
        for numbered in file_rows(file):
            line += 1
            yield Numbered(line, numbered.row)


def file_rows(path: Path) -> Iterator[Numbered]:
    """The rows of one file.

    Raises:
        PreflabError: text in UTF-16 or UTF-32, or a delimited table that is named like JSON.
    """
    kind = kind_of_path(path)
    if kind in ("jsonl", "list", "table"):
        with opened(path) as file:
            begin = file.read(64)
        if wide := wide_text(begin):
            raise PreflabError(
                f"{path}: not UTF-8 ({kind_of_bytes(begin) or wide})", "text in UTF-8", "save it as UTF-8"
            )
        if kind == "jsonl":
            refuse_table(path)
    return READERS[kind](path)


def kind_of_path(path: Path) -> Kind:
    """The kind of source at a path.

    Raises:
        PreflabError: no such path, or an unsupported kind of file.
    """
    if path.is_dir():
        return "folder"
    if not path.exists():
        if is_hub_id(path):
            return "hub"
        expected = "a file, a data set's folder, or `owner/name` of one on the Hub (if there is no folder `owner` here)"
        raise PreflabError(f"{path}: there is no such file", expected, "correct the path")
    check_regular(path)
    suffix = suffix_of(path)
    kind = SUFFIXES.get(suffix)
    if (kind == "jsonl" and suffix == ".json") or suffix in UNNAMED:
        kind = _kind_of_json(path, known=suffix == ".json")
    if kind is None or (kind in ("parquet", "arrow") and is_gzipped(path)):
        raise PreflabError(
            f"{path}: a file of kind {path.suffix or path.name!r}",
            f"{', '.join(SUFFIXES)}, text also gzipped (.gz), or a folder of such files",
            "convert the file to JSONL: one JSON object per line",
        )
    return kind


def _kind_of_json(path: Path, *, known: bool) -> Kind | None:
    with opened(path) as file:
        begin = file.read(1024)
    first = begin.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    kinds: dict[bytes, Kind] = {b"[": "list", b"{": "jsonl"}
    read_later = known or kind_of_bytes(begin) or wide_text(begin[:64])  # reading it gives the more exact error
    return kinds.get(first, "jsonl" if read_later else None)


def unit_of(path: Path) -> str:
    """The unit of a file's line numbers: `line`, `item` of a JSON list, or `row`."""
    return {"jsonl": "line", "table": "line", "list": "item"}.get(kind_of_path(path), "row")


def num_lines(path: Path) -> int | None:
    """The number of lines, for a progress bar; None if counting would take as long as reading."""
    if kind_of_path(path) not in ("jsonl", "table") or is_gzipped(path):
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(2**20), b""))
