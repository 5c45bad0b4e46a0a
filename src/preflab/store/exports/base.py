"""What every export shares: records to rows, what was dropped and why, the file with its manifest beside it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.files import write_files
from preflab.records import Campaign, Completion, Judgment, Labeler, Prompt
from preflab.store.database import to_json
from preflab.store.formats.tables import FORMULA

Row = dict[str, Any]


class AsIs(dict[str, Any]):
    """An object whose keys keep their order: a schema, the arguments of a call."""


EXPORT_VERSION = 1
SUFFIXES = (".jsonl", ".parquet", ".csv")
CELLS = (".csv", ".tsv")


@dataclass(frozen=True)
class Settings:
    """What may be chosen about an export; all of it stands in the manifest."""

    strict: bool = False
    """Only the columns the trainer knows; without it, columns that begin with `preflab_` say where a row is from."""
    criterion: str | None = None
    """Of labels from scores: which criterion counts; None: the mean of all."""
    good_from: float = 4.0
    """Of labels from scores: at least this is good."""
    bad_to: float = 2.0
    """Of labels from scores: at most this is bad; between the two is dropped."""
    failed_as_rejected: bool = False
    """Of pairs: every completion that is F is rejected in favour of every one that is not."""
    margin: bool = False
    """Of pairs: a column `margin`, votes for minus votes against, which some reward trainers read."""


@dataclass
class Material:
    """The records an export looks things up in, and the count of what it drops."""

    prompts: Mapping[str, Prompt]
    completions: Mapping[str, Completion]
    labelers: Mapping[str, Labeler] = field(default_factory=dict)
    campaigns: Mapping[str, Campaign] = field(default_factory=dict)
    judgments: Mapping[str, Judgment] = field(default_factory=dict)
    """Those that preferences were learned from, for formats that write them."""
    settings: Settings = field(default_factory=Settings)
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    """What → how often something was written in another form than it has."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Part of records → how many of them the format has no place for."""
    made_of: Counter[str] = field(default_factory=Counter)
    """Kind of record → how many were selected."""

    def drop(self, reason: str, num: int = 1) -> None:
        """Count something that does not get into the file."""
        if num:
            self.dropped[reason] += num

    def change(self, what: str, num: int = 1) -> None:
        """Count something that gets into the file in another form."""
        if num:
            self.changed[what] += num

    def leave_out(self, what: str, num: int = 1) -> None:
        """Count parts of records that the format has no place for."""
        if num:
            self.left_out[what] += num


@dataclass(frozen=True)
class Export:
    """One format that can be written."""

    name: str
    about: str
    """One line for the list of formats."""
    of: str
    """The kind of record it starts from: `prompt`, `completion`, `preference` or `judgment`."""
    rows: Callable[[Any, Material], Iterator[Row]]
    """A record → its rows."""
    check: Callable[[Iterable[Prompt]], None] = lambda prompts: None
    """Refuses prompts that the format cannot hold."""
    parquet: bool = True
    """False where nested objects differ from row to row."""
    csv: bool = True
    """False where an import could not tell objects and numbers from texts in cells: preflab's archive."""
    model: str | None = None
    """Only completions of this model, for formats of completions."""
    latest: bool = False
    """Of judgments: the last revision of each labeler on each task alone, surplus ones dropped."""
    read_as: str = ""
    """The format of another name that reads it; "" for one of the same name."""
    holds: str = "texts and turns"
    """What it can hold, for the table of formats; anything else is dropped and counted."""
    units: Callable[[list[Any]], list[Any]] = lambda records: records
    """Records → what a row is made of, for formats whose row holds several of them."""
    keeps: frozenset[str] = frozenset()
    """Parts of records (`left_out.PARTS`) that come back from the file."""
    beside: frozenset[str] = frozenset()
    """The same, in columns that a strict export leaves away."""
    columns: tuple[str, ...] = ()
    """Columns of prompts and completions that it keeps, where it keeps no others."""
    judgments: bool = False
    """Of preferences: whether the judgments that they were learned from are written with them."""


def write_rows(path: Path, rows: list[Row], *, export: Export, material: Material, chosen: Row) -> Row:
    """Write rows as JSONL, Parquet or CSV and the manifest `<file>.manifest.json`, beside and renamed.

    Returns:
        the manifest: format, file, sha256, num_rows, made_of (kind → count), dropped (reason → count), changed (what →
        count), left_out (part of records → count), settings, selection.

    Raises:
        PreflabError: an unknown kind of file, rows that Parquet cannot hold, a full disk.
    """
    _check_kind(path, export)
    rows = [{name: _sorted(value) for name, value in row.items()} for row in rows]
    data = _parquet(path, rows) if path.suffix == ".parquet" else {".jsonl": _jsonl, ".csv": _csv}[path.suffix](rows)
    manifest = {
        "export_version": EXPORT_VERSION,
        "format": export.name,
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "num_rows": len(rows),
        "made_of": dict(sorted(material.made_of.items())),
        "dropped": dict(sorted(material.dropped.items())),
        "changed": dict(sorted(material.changed.items())),
        "left_out": dict(sorted(material.left_out.items())),
        "settings": material.settings.__dict__,
        "selection": chosen,
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    write_files({path: data, manifest_of(path): text.encode()})
    return manifest


def _check_kind(path: Path, export: Export) -> None:
    """Refuses a kind of file that the format cannot be written as.

    Raises:
        PreflabError: which kinds it can be.
    """
    unfit = {".parquet": not export.parquet, ".csv": not export.csv}
    known = [suffix for suffix in SUFFIXES if not unfit.get(suffix)]
    if path.suffix in known:
        return
    cells = (
        "; an import cannot read its objects and numbers from cells" if path.suffix in CELLS and not export.csv else ""
    )
    raise PreflabError(
        f"{path}: cannot be written as {export.name}{cells}",
        f"a file ending in {' or '.join(known)}",
        f"name it {path.with_suffix(known[0]).name}",
    )


def manifest_of(path: Path) -> Path:
    """Where the manifest of an export lies."""
    return path.with_name(f"{path.name}.manifest.json")


def _sorted(value: Any) -> Any:
    """Nested objects with their keys in order, so that equal records give equal bytes; `AsIs` is in order already."""
    if isinstance(value, AsIs):
        return value
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(each) for each in value]
    return value


def _jsonl(rows: list[Row]) -> bytes:
    return "".join(f"{to_json(row)}\n" for row in rows).encode()


def _csv(rows: list[Row]) -> bytes:
    """A spreadsheet: lists and objects as JSON in their cells, formulas made harmless."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    cells = [[_cell(name) for name in names], *([_cell(row.get(name)) for name in names] for row in rows)]
    # a carriage return ends a row as well, and is not quoted by itself
    returns = any("\r" in cell for row in cells for cell in row)
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL).writerows(cells)
    return buffer.getvalue().encode()


def _cell(value: Any) -> str:
    """A cell's text; what a spreadsheet would take for a formula gets an apostrophe, also where it begins with one.

    `formats.tables` takes it away again.
    """
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value)
    harmless = not isinstance(value, str) or not re.match(FORMULA, text)
    return text if harmless else f"'{text}"


def _columnar(value: Any) -> Any:
    """What differs from row to row, schemas and arguments, as JSON text: a column has one shape."""
    if isinstance(value, AsIs) or (isinstance(value, list) and value and all(isinstance(v, AsIs) for v in value)):
        return to_json(value)
    if isinstance(value, dict):
        return {name: _columnar(each) for name, each in value.items()}
    return [_columnar(each) for each in value] if isinstance(value, list) else value


def _parquet(path: Path, rows: list[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.BytesIO()
    try:
        table = pa.table({name: [_columnar(row.get(name)) for row in rows] for name in names})
        pq.write_table(table, buffer, compression="zstd")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise PreflabError(
            f"{path}: a column holds values of different kinds ({error})", "one kind per column", "write JSONL instead"
        ) from error
    return buffer.getvalue()
