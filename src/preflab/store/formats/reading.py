"""Rows of a file, one at a time, each with its line: text files, Parquet, Arrow, folders with splits, Hub data sets."""

from __future__ import annotations

import datetime
import gzip
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

from preflab.errors import PreflabError
from preflab.files import check_regular

Row = dict[str, Any]
Kind = Literal["jsonl", "list", "table", "parquet", "arrow", "folder", "hub"]
"""What a path holds: JSON lines, a JSON list, delimited cells, columns, or several files."""
ROW_BYTES = 64 * 2**20
"""Bytes one row may have, so that a file without line ends cannot fill the memory."""
MAX_DIGITS = 1000
"""Digits of a whole number; Python itself reads 4,300."""
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


def numbered_rows(path: Path, split: str | None = None) -> Iterator[Numbered]:
    """The rows of a file, of a folder's split or of a Hub data set, without reading all of it at once.

    Args:
        path: a file, a folder, or `owner/name` of a data set on the Hub where nothing lies at that path.
        split: which split of a folder or data set; None: the only one.

    Raises:
        PreflabError: no such file, a kind of file that is not read, a file broken as a whole, or a split that is not
            there or must be named.
    """
    kind = kind_of_path(path)
    if kind == "folder":
        from preflab.store.formats.folders import folder_rows

        return folder_rows(path, split)
    if kind == "hub":
        from preflab.store.formats.hub import hub_rows

        return hub_rows(path, split)
    if split is not None:
        raise PreflabError(f"{path}: a file has no splits", "a folder with several splits", f"leave out {split!r}")
    return file_rows(path)


def file_rows(path: Path) -> Iterator[Numbered]:
    """The rows of one file.

    Raises:
        PreflabError: text in two or four bytes per character.
    """
    kind = kind_of_path(path)
    if kind in ("jsonl", "list", "table"):
        with opened(path) as file:
            begin = file.read(64)
        if wide := _wide(begin):
            raise PreflabError(
                f"{path}: not UTF-8 ({kind_of_bytes(begin) or wide})", "text in UTF-8", "save it as UTF-8"
            )
        if kind == "jsonl":
            from preflab.store.formats.tables import refuse_table

            refuse_table(path)
    return _readers()[kind](path)


def _wide(data: bytes) -> str:
    """What text is that has zeros between its letters and no mark at its beginning; "" for any other."""
    if data.count(0) * 3 < len(data) or len(data) < 4:
        return ""
    return "UTF-32" if data.count(0) * 2 > len(data) + 1 else "UTF-16"


def _readers() -> dict[Kind, Callable[[Path], Iterator[Numbered]]]:
    from preflab.store.formats.columnar import arrow_rows, parquet_rows
    from preflab.store.formats.json_list import json_list
    from preflab.store.formats.tables import table_rows

    return {
        "jsonl": _jsonl,
        "list": json_list,
        "table": table_rows,
        "parquet": parquet_rows,
        "arrow": arrow_rows,
    }


def kind_of_path(path: Path) -> Kind:
    """What a path holds.

    Raises:
        PreflabError: nothing, or a kind of file that is not read.
    """
    if path.is_dir():
        return "folder"
    if not path.exists():
        from preflab.store.formats.hub import is_hub_id

        if is_hub_id(path):
            return "hub"
        expected = "a file, a data set's folder, or `owner/name` of one on the Hub (where no folder `owner` lies here)"
        raise PreflabError(f"{path}: there is no such file", expected, "mend the path")
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


def suffix_of(path: Path) -> str:
    """The ending of a file's name that says its kind, `.gz` not counted, in small letters."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def is_gzipped(path: Path) -> bool:
    """Whether the file's name says that it is gzipped."""
    return path.name.lower().endswith(".gz")


def _kind_of_json(path: Path, *, known: bool) -> Kind | None:
    with opened(path) as file:
        begin = file.read(1024)
    first = begin.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    kinds: dict[bytes, Kind] = {b"[": "list", b"{": "jsonl"}
    told = known or kind_of_bytes(begin) or _wide(begin[:64])  # refused as what it is when it is read
    return kinds.get(first, "jsonl" if told else None)


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


def unit_of(path: Path) -> str:
    """What the numbers count: `line`, `item` of a JSON list, or `row`."""
    return {"jsonl": "line", "table": "line", "list": "item"}.get(kind_of_path(path), "row")


def num_lines(path: Path) -> int | None:
    """Lines of a file, for a bar that says how much is left; None where counting them would take as long as reading."""
    if kind_of_path(path) not in ("jsonl", "table") or is_gzipped(path):
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(2**20), b""))


def _jsonl(path: Path) -> Iterator[Numbered]:
    with opened(path) as lines:
        for line, data in enumerate(_short_lines(path, lines), 1):
            if line == 1:
                _refuse_list(path, data)
            if data.strip():
                yield Numbered(line, _caught(_json_row, data))


def _short_lines(path: Path, lines: IO[bytes]) -> Iterator[bytes]:
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
        row = DECODER.decode(text)
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} is 0x{data[error.start]:02x}"
        raise BadRow(f"not UTF-8 ({kind_of_bytes(data) or byte})", "text in UTF-8") from None
    except json.JSONDecodeError as error:
        reason = kind_of_bytes(data) or f"{error.msg}, column {error.colno}"
        raise BadRow(f"not JSON ({reason})", "one JSON object per line") from None
    except RecursionError:
        raise BadRow("JSON nested too deeply", "one JSON object per line") from None
    return checked_row(row, text)


def kind_of_bytes(data: bytes) -> str:
    """What the first bytes of a file are that is not what its name says; "" where that cannot be told."""
    return next((said for begin, said in BEGINNINGS.items() if data.startswith(begin)), "")


def checked_row(row: Any, text: str) -> Row:
    """What was read from this text, if it is an object of whole characters.

    Raises:
        BadRow: it is not.
    """
    if not isinstance(row, dict):
        raise BadRow(f"a JSON {type(row).__name__}, not an object", "one JSON object per line")
    if "\\u" in text:
        _refuse_half_characters(row)
    return row


def object_in(text: str) -> Any:
    """The object or list that a text is as JSON; else the text."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text, **STRICT)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> None:
    """Refuses NaN and infinity, which JSON does not have."""
    raise BadRow(f"the number {name}", "finite numbers, or null")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadRow(f"the number {text[:20]}, which is infinite as a float", "finite numbers, or null")
    return value


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise BadRow(f"a whole number of {len(text):,} digits", f"at most {MAX_DIGITS}")
    return int(text)


NUMBERS: dict[str, Any] = {"parse_constant": _no_constant, "parse_float": _float, "parse_int": _int}
"""For `json.loads`: numbers that no database or program after us could hold are refused by line."""


def _each_key_once(pairs: list[tuple[str, Any]]) -> Row:
    """An object of these keys; of a key that stands there twice, the first value would be lost without a word."""
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRow(f"the key {twice!r:.40} twice in one object", "each key once")
    return row


STRICT: dict[str, Any] = {**NUMBERS, "object_pairs_hook": _each_key_once}
"""For `json.loads` of rows and of what stands as JSON in their cells."""
DECODER = json.JSONDecoder(**STRICT)
"""Made once: `json.loads` with arguments makes one for every row."""


def _refuse_half_characters(row: Row) -> None:
    """JSON can escape half of a character beyond the basic plane, which no file or database can hold as text."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRow("half a character (a lone surrogate such as \\ud83d)", "whole characters") from None


def plain_row(row: Row) -> Row | BadRow:
    """A row of columns (Parquet, Arrow) as JSON has it; a null inside an object, which Arrow also writes for a key that
    another row has, counts as no key.
    """
    try:
        return {name: plain(value, name) for name, value in row.items()}
    except BadRow as bad:
        return bad


def plain(value: Any, column: str) -> Any:
    """A value as JSON has it: dates as text, NaN (a missing number of a data frame) as null.

    Raises:
        BadRow: it holds what JSON does not have, such as bytes.
    """
    if isinstance(value, dict):
        inner = {name: plain(each, column) for name, each in value.items()}
        return {name: each for name, each in inner.items() if each is not None}
    if isinstance(value, list | tuple):
        return [plain(each, column) for each in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or (isinstance(value, str | bool | int | float) and value not in (math.inf, -math.inf)):
        return value
    raise BadRow(f"the column {column!r} holds {type(value).__name__} {str(value)[:30]!r}", "JSON values")
