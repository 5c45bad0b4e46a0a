"""Shared by all exports: settings, looked-up records, counts of what is dropped, and the file with its manifest."""

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
from preflab.store.formats.delimited import FORMULA

Row = dict[str, Any]


class AsIs(dict[str, Any]):
    """An object whose keys keep their order when written: a JSON schema, the arguments of a call."""


EXPORT_VERSION = 1
SUFFIXES = (".jsonl", ".parquet", ".csv")
CELLS = (".csv", ".tsv")


@dataclass(frozen=True)
class Settings:
    """The options of an export; all of them are written to the manifest."""

    strict: bool = False
    """Write only the columns that the trainer knows, without those that begin with `preflab_` and name the origin."""
    criterion: str | None = None
    """For labels from scores: the criterion that counts; None: the mean of all."""
    good_from: float = 4.0
    """For labels from scores: a score of at least this is good."""
    bad_to: float = 2.0
    """For labels from scores: a score of at most this is bad; scores between the two are dropped."""
    failed_as_rejected: bool = False
    """For pairs: add a pair of every completion that is not F (chosen) with every completion that is F (rejected)."""
    margin: bool = False
    """For pairs: write a column `margin`, votes for minus votes against, which some reward trainers read."""


@dataclass
class Material:
    """The records that an export looks up, and the counts of what it drops, changes and leaves out."""

    prompts: Mapping[str, Prompt]
    completions: Mapping[str, Completion]
    labelers: Mapping[str, Labeler] = field(default_factory=dict)
    campaigns: Mapping[str, Campaign] = field(default_factory=dict)
    judgments: Mapping[str, Judgment] = field(default_factory=dict)
    """The parent judgments of preferences, for formats that write them."""
    settings: Settings = field(default_factory=Settings)
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    """Change → number of values written in a changed form."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Part of records → number of them that the format cannot hold."""
    made_of: Counter[str] = field(default_factory=Counter)
    """Kind of record → number of records selected."""

    def drop(self, reason: str, num: int = 1) -> None:
        """Count items that are not written to the file."""
        if num:
            self.dropped[reason] += num

    def change(self, what: str, num: int = 1) -> None:
        """Count items that are written in a changed form."""
        if num:
            self.changed[what] += num

    def leave_out(self, what: str, num: int = 1) -> None:
        """Count parts of records that the format cannot hold."""
        if num:
            self.left_out[what] += num


@dataclass(frozen=True)
class Export:
    """One format that can be written."""

    name: str
    about: str
    """One line for the list of formats."""
    of: str
    """The kind of record exported: `prompt`, `completion`, `preference` or `judgment`."""
    rows: Callable[[Any, Material], Iterator[Row]]
    """Function from a record to its rows."""
    check: Callable[[Iterable[Prompt]], None] = lambda prompts: None
    """Raises an error for prompts that the format cannot hold."""
    parquet: bool = True
    """False if nested objects differ from row to row."""
    csv: bool = True
    """False if an import could not distinguish objects and numbers in cells from texts: preflab's archive."""
    model: str | None = None
    """Only completions of this model, for formats of completions."""
    latest: bool = False
    """For judgments: whether only each labeler's latest revision per task is written, without surplus."""
    read_as: str = ""
    """Name of the import format that reads the file; "" if it has the same name."""
    holds: str = "texts and turns"
    """The contents it can hold, for the table of formats; other contents are dropped and counted."""
    units: Callable[[list[Any]], list[Any]] = lambda records: records
    """Groups the records for `rows`, for formats whose rows hold several records."""
    keeps: frozenset[str] = frozenset()
    """Parts of records (`left_out.PARTS`) that an import of the file restores."""
    beside: frozenset[str] = frozenset()
    """Further such parts, in columns that a strict export omits."""
    columns: tuple[str, ...] = ()
    """The columns of prompts and completions that it keeps, if it does not keep all."""
    judgments: bool = False
    """For preferences: whether their parent judgments are written with them."""


def write_rows(path: Path, rows: list[Row], *, export: Export, material: Material, chosen: Row) -> Row:
    """Write rows as JSONL, Parquet or CSV, and the manifest `<file>.manifest.json`; both or neither.

    Returns:
        the manifest: format, file, sha256, num_rows, made_of (kind → count), dropped (reason → count), changed (what →
        count), left_out (part of records → count), settings, selection.

    Raises:
        PreflabError: an unknown kind of file, rows that Parquet cannot hold, a full disk.
    """
    _check_kind(path, export)
    rows = [{name: _sort_keys(value) for name, value in row.items()} for row in rows]
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
    """Refuse a kind of file that the format cannot be written as.

    Raises:
        PreflabError: the kind is not possible; the error names the possible ones.
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
    """The path of an export's manifest."""
    return path.with_name(f"{path.name}.manifest.json")


def _sort_keys(value: Any) -> Any:
    """The value with sorted keys in nested objects, so that equal records give equal bytes; `AsIs` is not sorted."""
    if isinstance(value, AsIs):
        return value
    if isinstance(value, dict):
        return {name: _sort_keys(value[name]) for name in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sort_keys(each) for each in value]
    return value


def _jsonl(rows: list[Row]) -> bytes:
    return "".join(f"{to_json(row)}\n" for row in rows).encode()


def _csv(rows: list[Row]) -> bytes:
    """Rows as CSV: lists and objects are JSON in their cells, and formulas are escaped."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    cells = [[_cell(name) for name in names], *([_cell(row.get(name)) for name in names] for row in rows)]
    # quote all cells if one has a carriage return, which ends a row too but does not make `csv` quote the cell
    returns = any("\r" in cell for row in cells for cell in row)
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL).writerows(cells)
    return buffer.getvalue().encode()


def _cell(value: Any) -> str:
    """The text of a cell; an apostrophe before text that a spreadsheet would execute as a formula.

    A text that already begins with an apostrophe and a formula gets another one. `formats.tables` removes it on import.
    """
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value)
    harmless = not isinstance(value, str) or not re.match(FORMULA, text)
    return text if harmless else f"'{text}"


def _columnar(value: Any) -> Any:
    """The value with schemas and arguments as JSON text, since all values of a Parquet column must have one type."""
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
