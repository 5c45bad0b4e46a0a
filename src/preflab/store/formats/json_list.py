"""Reads a JSON list as rows, one item at a time: `.json` files of Label Studio and Argilla, which may be gzipped."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from preflab.errors import PreflabError
from preflab.store.formats.file_kinds import opened
from preflab.store.formats.json_rows import ROW_BYTES, STRICT, BadRow, Numbered, checked_row

PIECE = 2**20
"""Characters read at a time."""
SPACES = " \t\r\n"


def json_list(path: Path) -> Iterator[Numbered]:
    """The items of the list with their numbers from 1; only one item is in memory at a time.

    Raises:
        PreflabError: not UTF-8, or invalid JSON, after which further items cannot be located.
    """
    try:
        with io.TextIOWrapper(opened(path), encoding="utf-8-sig") as file:
            for number, (value, text) in enumerate(_items(_Window(path, file)), 1):
                yield Numbered(number, _row(value, text))
    except UnicodeDecodeError as error:
        raise PreflabError(f"{path}: not UTF-8 ({error.reason})", "text in UTF-8", "save it as UTF-8") from error


def _row(value: Any, text: str) -> dict[str, Any] | BadRow:
    try:
        return checked_row(value, text)
    except BadRow as bad:
        return bad


class _Window:
    """The part of the file that is in memory; `at` is the position in `text`."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path, self.file, self.text, self.at = path, file, "", 0
        self.decoder = json.JSONDecoder(**STRICT)

    def more(self) -> bool:
        """Read the next piece of the file; False at its end."""
        piece = self.file.read(PIECE)
        self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    def next(self) -> str:
        """The next character that is not a space, without consuming it; "" at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in SPACES:
                self.at += 1
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def value(self, number: int) -> tuple[Any, str]:
        """Consume the next value; returns it with its text."""
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except (json.JSONDecodeError, RecursionError) as error:
                self._refuse_or_read_on(number, error)
                continue
            except BadRow as bad:
                raise PreflabError(
                    f"{self.path}, item {number}: {bad.found}", bad.expected, "correct the item"
                ) from None
            if end == len(self.text) and self.more():
                continue  # a number may continue in the next piece
            text, self.at = self.text[self.at : end], end
            return value, text

    def _refuse_or_read_on(self, number: int, error: Exception) -> None:
        if len(self.text) - self.at > ROW_BYTES:
            raise PreflabError(
                f"{self.path}, item {number}: longer than {ROW_BYTES // 2**20} MiB, or not JSON",
                "items of a JSON list",
                "correct the file, or write one JSON object per line",
            )
        if isinstance(error, RecursionError) or not self.more():
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise PreflabError(
                f"{self.path}, item {number}: not JSON ({reason})", "a list of objects: [{…}, {…}]", "correct the item"
            ) from None


def _items(window: _Window) -> Iterator[tuple[Any, str]]:
    window.next()
    window.at += 1  # the opening bracket
    number = 0
    while (begin := window.next()) != "]":
        if number:
            _expect(window, begin, ",", number)
            window.at += 1
            window.next()
        number += 1
        yield window.value(number)
    window.at += 1
    if window.next():
        raise PreflabError(f"{window.path}: more after the list's end", "one JSON list", "correct the file")


def _expect(window: _Window, found: str, expected: str, number: int) -> None:
    if found != expected:
        raise PreflabError(
            f"{window.path}, after item {number}: {found!r}" if found else f"{window.path}: ends within its list",
            "a comma or the end of the list",
            "correct the file, or download it again",
        )
