"""Adds columns to completions that are stored already, such as the clip of a playout that a stage has sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update

from preflab.store.database import writing
from preflab.store.record_reading import CHUNK, chunks
from preflab.store.rows import BY_NAME
from preflab.store.workspace import Workspace


def add_columns(workspace: Workspace, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Set columns of completions: completion id → name → value. Other columns stay; ids do not depend on columns."""
    table = BY_NAME["completion"].table
    with writing(workspace.engine) as connection:
        for part in chunks(sorted(columns), CHUNK):
            rows = connection.execute(select(table.c.id, table.c.columns).where(table.c.id.in_(part))).all()
            for row in rows:
                values = {**row.columns, **columns[row.id]}
                if values != row.columns:
                    connection.execute(update(table).where(table.c.id == row.id).values(columns=values))
