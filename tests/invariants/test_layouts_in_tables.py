"""A file says the same as JSON lines, in the cells of a table, and in the columns of Parquet."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from layout_words import demonstrations, groups
from preflab.errors import PreflabError
from preflab.store.formats import read_file
from preflab.store.formats.imported import Imported

FILES = Path(__file__).parents[1] / "by_hand" / "data" / "layouts"
REFUSED = {"argilla-1.csv"}
"""Its questions are lists in columns of any name, which are texts in a table."""


def cell(value: Any) -> str:
    """As pandas writes it, objects as JSON."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


def in_cells(path: Path, names: list[str], rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    return path


def in_columns(path: Path, names: list[str], rows: list[dict[str, Any]]) -> Path | None:
    """None where a column holds values of several kinds."""
    try:
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None
    return path


def said(found: Imported) -> tuple[Any, ...]:
    prompts = [prompt.shown for prompt in found.prompts]
    return found.format, prompts, groups(found), demonstrations(found), len(found.judgments), found.left_out


@pytest.mark.parametrize("file", sorted(FILES.glob("*.jsonl")), ids=lambda file: file.stem)
def test_a_layout_says_the_same_in_every_kind_of_file(tmp_path: Path, file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    expected = said(read_file(file))
    table = in_cells(tmp_path / f"{file.stem}.csv", names, rows)
    if table.name in REFUSED:
        with pytest.raises(PreflabError, match="tells of a judgment"):
            read_file(table)
    else:
        assert said(read_file(table)) == expected
    columns = in_columns(tmp_path / "rows.parquet", names, rows)
    if columns:
        assert said(read_file(columns)) == expected
