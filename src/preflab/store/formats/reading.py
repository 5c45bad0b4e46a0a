"""Rows of a file, one at a time, each with its line: JSONL (also gzipped), JSON lists, CSV, Parquet, data sets."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from preflab.errors import PreflabError

Row = dict[str, Any]
ROW_BYTES = 64 * 2**20
"""Bytes one row may have, so that a file without line ends cannot fill the memory."""
CELL = ROW_BYTES
"""Characters a CSV cell may have; Python's own limit of 128 Ki is less than a long conversation."""


class BadRow(ValueError):
    """A row that cannot be used: what was found in it, and what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected


@dataclass(frozen=True)
class Problem:
    """A row that was left out, or that stopped an import."""

    line: int
    """Line of the file, from 1; the number of the row in Parquet and data sets."""
    found: str
    expected: str


class Numbered(NamedTuple):
    """One row with its line: either its columns, or what is wrong with it."""

    line: int
    row: Row | BadRow


def numbered_rows(path: Path) -> Iterator[Numbered]:
    """The rows of a file or of a data set's folder, without reading all of it at once.

    Raises:
        PreflabError: no such file, a kind of file that is not read, or a file broken as a whole.
    """
    if not path.exists():
        raise PreflabError(f"{path}: there is no such file", "a file or a data set's folder", "mend the path")
    return _reader_of(path)(path)


def unit_of(path: Path) -> str:
    """What the numbers count: `line`, `item` of a JSON list, or `row`."""
    reader = _reader_of(path)
    return "line" if reader in (_jsonl, _csv) else "item" if reader is _json_list else "row"


def num_lines(path: Path) -> int | None:
    """Lines of a file, for a bar that says how much is left; None where counting them would take as long as reading."""
    if _reader_of(path) not in (_jsonl, _csv) or path.suffix == ".gz":
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(2**20), b""))


def _reader_of(path: Path) -> Callable[[Path], Iterator[Numbered]]:
    if path.is_dir():
        return _dataset
    readers = {".jsonl": _jsonl, ".json": _jsonl, ".csv": _csv, ".parquet": _parquet}
    suffix = next((s for s in reversed(path.suffixes) if s != ".gz"), "")
    if suffix not in readers:
        raise PreflabError(
            f"{path}: a file of kind {path.suffix or path.name!r}",
            f"{', '.join(readers)}, .jsonl.gz, or the folder of a Hugging Face data set",
            "convert the file to JSONL: one JSON object per line",
        )
    if path.suffix == ".json" and _opens_a_list(path):
        return _json_list
    return readers[suffix]


def _opens_a_list(path: Path) -> bool:
    from preflab.store.formats.json_list import is_json_list

    return is_json_list(path)


def _json_list(path: Path) -> Iterator[Numbered]:
    from preflab.store.formats.json_list import json_list

    return json_list(path)


def _jsonl(path: Path) -> Iterator[Numbered]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for line, data in enumerate(_short_lines(path, lines), 1):
                if line == 1:
                    _refuse_list(path, data)
                if data.strip():
                    yield Numbered(line, _caught(_json_row, data))
    except (gzip.BadGzipFile, EOFError) as error:
        raise PreflabError(f"{path}: {error}", "a whole gzip file", "fetch it again") from error


def _short_lines(path: Path, lines: Any) -> Iterator[bytes]:
    """The lines, none longer than a row may be."""
    while data := lines.readline(ROW_BYTES + 1):
        if len(data) > ROW_BYTES:
            raise PreflabError(
                f"{path}: a line of more than {ROW_BYTES // 2**20} MiB",
                "JSONL: one JSON object per line",
                "write each object on its line",
            )
        yield data


def _refuse_list(path: Path, data: bytes) -> None:
    if data.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
        raise PreflabError(
            f"{path}, line 1: a JSON list",
            "JSONL: one JSON object per line",
            "call the file .json, or write each item of the list on its line",
        )


def _caught(parse: Callable[[bytes], Row], data: bytes) -> Row | BadRow:
    try:
        return parse(data)
    except BadRow as bad:
        return bad


def _json_row(data: bytes) -> Row:
    try:
        text = data.decode("utf-8-sig").rstrip("\r\n")
        row = json.loads(text, parse_constant=no_constant)
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8 (byte {error.start + 1} is 0x{data[error.start]:02x})", "text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRow(f"not JSON ({error.msg}, column {error.colno})", "one JSON object per line") from None
    except RecursionError:
        raise BadRow("JSON nested too deeply", "one JSON object per line") from None
    return checked_row(row, text)


def checked_row(row: Any, text: str) -> Row:
    """What was read from this text, if it is an object of whole characters.

    Raises:
        BadRow: it is not.
    """
    if not isinstance(row, dict):
        raise BadRow(f"a JSON {type(row).__name__}, not an object", "one JSON object per line")
    if "\\u" in text:
        _refuse_half_characters(text, row)
    return row


def no_constant(name: str) -> None:
    """Refuses NaN and infinity, which JSON does not have."""
    raise BadRow(f"the number {name}", "finite numbers, or null")


def _refuse_half_characters(text: str, row: Row) -> None:
    """JSON can escape half of a character beyond the basic plane, which no file or database can hold as text."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRow("half a character (a lone surrogate such as \\ud83d)", "whole characters") from None


def _csv(path: Path) -> Iterator[Numbered]:
    csv.field_size_limit(CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            cells = csv.reader(lines, strict=True)
            header = next(cells, [])
            line = cells.line_num + 1
            for values in cells:
                if values:
                    yield Numbered(line, _csv_row(header, values))
                line = cells.line_num + 1
    except UnicodeDecodeError as error:
        raise PreflabError(f"{path}: not UTF-8 ({error.reason})", "text in UTF-8", "save it as UTF-8") from error
    except csv.Error as error:
        raise PreflabError(f"{path}, line {cells.line_num}: {error}", "CSV with quoted cells", "mend it") from error


def _csv_row(header: list[str], values: list[str]) -> Row | BadRow:
    if len(values) != len(header):
        return BadRow(f"{len(values)} cells", f"{len(header)}: {', '.join(header)}")
    return dict(zip(header, values, strict=True))


def _parquet(path: Path) -> Iterator[Numbered]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            line = 0
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    line += 1
                    yield Numbered(line, _plain_row(row))
    except (pa.ArrowInvalid, OSError) as error:
        raise PreflabError(f"{path}: {error}", "a Parquet file", "write or fetch it again") from error


def _dataset(path: Path) -> Iterator[Numbered]:
    from datasets import DatasetDict, load_from_disk

    try:
        dataset = load_from_disk(str(path))
    except (FileNotFoundError, ValueError) as error:
        raise PreflabError(
            f"{path}: {error}", "a folder that `Dataset.save_to_disk` wrote", "name a file, or such a folder"
        ) from error
    if isinstance(dataset, DatasetDict):
        raise PreflabError(
            f"{path}: a data set of several splits ({', '.join(dataset)})",
            "one split",
            f"name its folder: {path / next(iter(dataset))}",
        )
    for line, row in enumerate(dataset, 1):
        yield Numbered(line, _plain_row(row))


def _plain_row(row: Row) -> Row | BadRow:
    try:
        return {name: _plain(value, name) for name, value in row.items()}
    except BadRow as bad:
        return bad


def _plain(value: Any, column: str) -> Any:
    """A value as JSON has it: dates as text, NaN (a missing number of a data frame) as null."""
    if isinstance(value, dict):
        return {name: _plain(each, column) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, column) for each in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or (isinstance(value, str | bool | int | float) and value not in (math.inf, -math.inf)):
        return value
    raise BadRow(f"the column {column!r} holds {type(value).__name__} {str(value)[:30]!r}", "JSON values")
