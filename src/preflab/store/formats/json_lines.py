"""Reads JSON lines: one object per line; the file may be gzipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from preflab.errors import PreflabError
from preflab.store.formats.file_kinds import kind_of_bytes, opened
from preflab.store.formats.json_rows import DECODER, ROW_BYTES, BadRow, Numbered, Row, checked_row


def json_lines(path: Path) -> Iterator[Numbered]:
    """The objects of a file with their lines; a bad line gives a `BadRow`.

    Raises:
        PreflabError: a line longer than `ROW_BYTES`, or a file that begins with a JSON list.
    """
    with opened(path) as lines:
        for line, data in enumerate(_short_lines(path, lines), 1):
            if line == 1:
                _refuse_list(path, data)
            if data.strip():
                yield Numbered(line, _json_row(data))


def _short_lines(path: Path, lines: IO[bytes]) -> Iterator[bytes]:
    """The lines; one longer than `ROW_BYTES` raises an error."""
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
            "name the file .json, or write each item of the list on its own line",
        )


def _json_row(data: bytes) -> Row | BadRow:
    try:
        return _parsed(data)
    except BadRow as bad:
        return bad


def _parsed(data: bytes) -> Row:
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
