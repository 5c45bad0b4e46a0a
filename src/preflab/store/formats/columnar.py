"""Reads the rows of Parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.store.formats.file_kinds import kind_of_bytes
from preflab.store.formats.json_rows import Numbered, plain_row

BATCH = 1000
"""Rows read at a time."""


def parquet_rows(path: Path) -> Iterator[Numbered]:
    """The rows of a Parquet file.

    Raises:
        PreflabError: it is not a Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield from _numbered(file.iter_batches(batch_size=BATCH))
    except (pa.ArrowInvalid, OSError) as error:
        raise PreflabError(f"{path}: {_said(path, error)}", "a Parquet file", "write or fetch it again") from error


def arrow_rows(path: Path) -> Iterator[Numbered]:
    """The rows of an Arrow file, in the stream format (as `datasets` writes it) or the file format.

    Raises:
        PreflabError: it is not an Arrow file.
    """
    import pyarrow as pa

    try:
        with pa.OSFile(str(path)) as file:
            try:
                batches: Iterator[Any] = iter(pa.ipc.open_stream(file))
                first = next(batches, None)
            except pa.ArrowInvalid:
                file.seek(0)
                whole = pa.ipc.open_file(file)
                batches, first = (whole.get_batch(number) for number in range(whole.num_record_batches)), None
            yield from _numbered(chain([] if first is None else [first], batches))
    except (pa.ArrowInvalid, OSError) as error:
        raise PreflabError(f"{path}: {_said(path, error)}", "an Arrow file", "write or fetch it again") from error


def _said(path: Path, error: Exception) -> str:
    """The kind of file if its first bytes identify it, else the error's text."""
    with path.open("rb") as file:
        return kind_of_bytes(file.read(32)) or str(error)


def _numbered(batches: Iterator[Any]) -> Iterator[Numbered]:
    line = 0
    for batch in batches:
        for row in batch.to_pylist():
            line += 1
            yield Numbered(line, plain_row(row))
