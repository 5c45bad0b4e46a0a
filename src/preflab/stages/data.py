"""The recipe's data files: rows that know their line, prompts, and the split that holds some of them out.

JSONL and JSON are read here, Parquet through pyarrow; the formats of other projects come in by `preflab import`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError, nearest
from preflab.recipe import Recipe
from preflab.records import Message, Prompt

SPLITS = ("train", "held_out")
ROLES = ("system", "user", "assistant", "tool")


class Row(dict[str, Any]):
    """One row: a dictionary of its columns, with `source`, its file and line."""

    def __init__(self, columns: Mapping[str, Any], source: str) -> None:
        super().__init__(columns)
        self.source = source

    def column(self, name: str) -> Any:
        """The value of a column; an error naming the line where it is missing."""
        if name not in self:
            raise PreflabError(
                f"{self.source}: no column `{name}`",
                f"columns found: {', '.join(self) or 'none'}"
                + (f"; near it: {near}" if (near := nearest(name, list(self))) else ""),
                f"add `{name}` to the row, or name other data in the recipe",
            )
        return self[name]


def read_data(recipe: Recipe, name: str) -> list[Row]:
    """The rows of `name` (all of them), `name.train` or `name.held_out` of the recipe's data."""
    base, _, split = name.partition(".")
    settings = recipe.data[base]
    rows = list(read_rows(recipe.resolve(settings.path)))
    if not rows:
        raise PreflabError(f"{recipe.resolve(settings.path)}: no rows", "at least one row", "fill the file")
    if not split:
        return rows
    return [row for row in rows if (split_share(row) < settings.held_out) == (split == "held_out")]


def split_share(row: Mapping[str, Any]) -> float:
    """Where in [0, 1) a row falls: the hash of its prompt's text alone, so all rows of a prompt stay together.

    Other columns do not count, and neither does the file: a prompt is held out of every file or of none.
    """
    asked = row.get("prompt", row.get("messages", row.get("text")))
    canonical = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return int(hashlib.sha256(canonical.encode()).hexdigest()[:12], 16) / 16**12


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a .jsonl, .json or .parquet file.

    Raises:
        PreflabError: no such file, another kind of file, or a row that cannot be read, by its line.
    """
    if not path.is_file():
        raise PreflabError(f"{path}: no such file", "a .jsonl, .json or .parquet file", "mend the path")
    readers = {".jsonl": _jsonl, ".json": _json, ".parquet": _parquet}
    if path.suffix not in readers:
        raise PreflabError(
            f"{path}: a file of kind `{path.suffix or path.name}`",
            f"one of {', '.join(readers)}",
            "convert it, or bring it in with `preflab import`",
        )
    return readers[path.suffix](path)


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            yield _row(_parsed(line, where), where)


def _json(path: Path) -> Iterator[Row]:
    rows = _parsed(path.read_bytes(), str(path))
    if not isinstance(rows, list):
        raise PreflabError(f"{path}: not a list", "a JSON list of rows", "write one, or one row per line as .jsonl")
    for number, row in enumerate(rows, 1):
        yield _row(row, f"{path}, row {number}")


def _parquet(path: Path) -> Iterator[Row]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_table

    try:
        table = read_table(path)
    except ArrowInvalid as error:
        raise PreflabError(f"{path}: {error}", "a Parquet file", "write it again") from error
    for number, row in enumerate(table.to_pylist(), 1):
        yield _row(row, f"{path}, row {number}")


def _parsed(data: bytes, where: str) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise PreflabError(f"{where}: not UTF-8", "text in UTF-8", "save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise PreflabError(
            f"{where}: not JSON ({error.msg} at {place})", "one JSON object per line", "mend or delete it"
        ) from error


def _row(columns: Any, where: str) -> Row:
    if not isinstance(columns, dict):
        raise PreflabError(
            f"{where}: a JSON {type(columns).__name__}, not an object", 'a row such as {"prompt": "Hi"}', "mend it"
        )
    return Row(columns, where)


def prompt_of(row: Row, without: Sequence[str] = ()) -> Prompt:
    """The prompt of a row: its `prompt` as text or turns; the other columns go along, except those in `without`."""
    asked = row.column("prompt")
    columns = {name: value for name, value in row.items() if name != "prompt" and name not in without}
    if isinstance(asked, str) and asked.strip():
        return Prompt.make(text=asked, columns=columns, source=row.source)
    if isinstance(asked, list) and asked:
        return Prompt.make(messages=tuple(_message(turn, row) for turn in asked), columns=columns, source=row.source)
    raise PreflabError(
        f"{row.source}: {'an empty prompt' if not asked or isinstance(asked, str) else f'the prompt {asked!r}'}",
        'text, or turns such as [{"role": "user", "content": "Hi"}]',
        "mend or delete the row",
    )


def _message(turn: Any, row: Row) -> Message:
    if isinstance(turn, dict) and turn.get("role") in ROLES and isinstance(turn.get("content"), str):
        return Message(turn["role"], turn["content"])
    raise PreflabError(
        f"{row.source}: a turn {str(turn)[:60]!r}",
        f'{{"role": {" | ".join(ROLES)}, "content": text}}',
        "mend the row",
    )


def prompts_of(rows: Sequence[Row]) -> list[Prompt]:
    """The prompt of every row; a prompt found twice is refused, naming both lines."""
    seen: dict[str, Prompt] = {}
    for row in rows:
        prompt = prompt_of(row)
        if prompt.id in seen:
            raise PreflabError(
                f"{row.source}: the same prompt as {seen[prompt.id].source}",
                "each prompt once",
                "delete one of the two rows",
            )
        seen[prompt.id] = prompt
    return list(seen.values())
