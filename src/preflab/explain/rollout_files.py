"""Reads the rollouts and pairs that a run kept (docs/reference/rollouts.md), and checks them against their columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from preflab.errors import PreflabError
from preflab.training.record_columns import PAIRS, ROLLOUTS, SCHEMA, TERM, Column
from preflab.training.step_files import step_files

AGAIN = "restore the file, or run the stage again"


def read_rollouts(run: Path, columns: Sequence[str] | None = None) -> pa.Table | None:
    """The kept rollouts of a run, in the order of their steps and rows.

    Example:
        >>> table = read_rollouts(Path("runs/ppo-3f2a"), ["step", "reward"])  # doctest: +SKIP
        >>> table.to_pylist()[0]  # doctest: +SKIP
        {'step': 0, 'reward': 0.25}

    Args:
        run: the folder of the run.
        columns: the columns to read; None: all.

    Returns:
        The table; None if the run kept none.

    Raises:
        PreflabError: a file is not Parquet, has another schema, or lacks a column.
    """
    return read_step_files(run / "rollouts", ROLLOUTS, columns)


def columns_in(run: Path) -> frozenset[str]:
    """Names of the columns of a run's first kept rollouts; empty without rollouts.

    Raises:
        PreflabError: the file is not Parquet.
    """
    path = next(iter(step_files(run / "rollouts")), None)
    if path is None:
        return frozenset()
    try:
        return frozenset(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise PreflabError(f"{path}: {str(error).splitlines()[0]}", "a Parquet file", AGAIN) from error


def read_pairs(run: Path, columns: Sequence[str] | None = None) -> pa.Table | None:
    """The kept pairs of a run of `dpo` or `reward`, as `read_rollouts` returns rollouts.

    Raises:
        PreflabError: a file is not Parquet, has another schema, or lacks a column.
    """
    return read_step_files(run / "pairs", PAIRS, columns)


def read_step_files(folder: Path, about: Mapping[str, Column], columns: Sequence[str] | None) -> pa.Table | None:
    """The rows of a folder of step files, checked against their table of columns; None without files.

    A column that only some files have, such as a detail of a reward, is null in the rows of the others.

    Raises:
        PreflabError: a file is not Parquet, has another schema, or lacks a column.
    """
    tables = [read_step_file(path, about, columns) for path in step_files(folder)]
    return pa.concat_tables(tables, promote_options="default") if tables else None


def record_facts(schema: pa.Schema, path: Path) -> dict[str, Any]:
    """The metadata of a file: `schema`, the stage's `kind` and the sampling `temperature`.

    Raises:
        PreflabError: there is none, or it is of another version.
    """
    content = (schema.metadata or {}).get(b"preflab", b"{}")
    try:
        facts = json.loads(content)
    except ValueError:
        facts = {}
    version = facts.get("schema") if isinstance(facts, dict) else None
    if version != SCHEMA:
        found = "no record of preflab" if version is None else f"a record of version {version}"
        raise PreflabError(
            f"{path}: {found}", f"a record of version {SCHEMA}", "read it with the preflab that wrote it"
        )
    return dict(facts)


def read_step_file(path: Path, about: Mapping[str, Column], columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of one step, checked against their table of columns.

    Raises:
        PreflabError: the file is not Parquet, has another schema, or lacks a column.
    """
    try:
        schema = pq.read_schema(path)
        record_facts(schema, path)
        _check_columns(path, schema, about, columns)
        return pq.read_table(path, columns=None if columns is None else list(columns), partitioning=None)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise PreflabError(f"{path}: {reason}", "a Parquet file", AGAIN) from error


def _check_columns(path: Path, schema: pa.Schema, about: Mapping[str, Column], columns: Sequence[str] | None) -> None:
    """Check that the wanted columns, or those that are always there, are in a file with their types."""
    always = [name for name, column in about.items() if column.where == "always" and name != TERM]
    for name in always if columns is None else columns:
        if name not in schema.names:
            raise PreflabError(f"{path}: no column {name}", f"one of {', '.join(schema.names)}", AGAIN)
    for name in schema.names:
        column = about.get(TERM if name.startswith("reward/") else name)
        if column is not None and schema.field(name).type != column.type:
            raise PreflabError(
                f"{path}: column {name} holds {schema.field(name).type}", f"values of type {column.type}", AGAIN
            )
