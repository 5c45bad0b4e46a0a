"""Checks whether the labelling app can work with the rows of a backup, before `restore` replaces the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

from preflab.labelling.accounts import AccountRole, AccountState
from preflab.labelling.campaign_rows import CampaignState, stored_options
from preflab.labelling.errors import Invalid
from preflab.labelling.members import Place
from preflab.labelling.shown_tasks import TurnState
from preflab.storable import shown

KEYS = {
    "members": "campaign_id || ', ' || labeler_id",
    "turns": "labeler_id || ', ' || task_id",
    "task_states": "task_id",
    "campaign_states": "campaign_id",
}
"""Table → SQL expression that names a row, for tables without a column `id`."""

CHOICES: dict[tuple[str, str], tuple[str, ...]] = {
    ("accounts", "role"): get_args(AccountRole),
    ("accounts", "state"): get_args(AccountState),
    ("invites", "role"): get_args(AccountRole),
    ("members", "place"): get_args(Place),
    ("campaign_states", "state"): get_args(CampaignState),
    ("task_states", "state"): ("open", "done"),
    ("turns", "state"): get_args(TurnState),
}
SHAPES = {
    ("campaigns", "criteria"): "array",
    ("campaigns", "scale_ends"): "object",
    ("campaign_states", "settings"): "object",
    ("invites", "campaign_ids"): "array",
    ("turns", "shown_order"): "array",
}
"""(table, JSON column) → the expected type of its JSON, in the names of SQLite."""


def wrong_row(file: Path) -> str | None:
    """A sentence about the first row that the app cannot work with (table, row, field); None if there is none.

    Args:
        file: a database with the tables of this version.
    """
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        return next(_wrong(connection), None)


def _wrong(connection: sqlite3.Connection) -> Iterator[str]:
    for (table, column), allowed in CHOICES.items():
        places = ", ".join("?" * len(allowed))
        query = f"SELECT {_key(table)}, {column} FROM {table} WHERE {column} NOT IN ({places})"
        for key, value in connection.execute(query, allowed):
            yield f"{table}, row {key}, {column}: {shown(value)}; expected one of {', '.join(allowed)}"
    for (table, column), shape in SHAPES.items():
        query = f"SELECT {_key(table)}, {column} FROM {table} WHERE json_type({column}) != ?"
        for key, value in connection.execute(query, (shape,)):
            yield f"{table}, row {key}, {column}: {shown(value)}; expected a JSON {shape}"
    for key, settings in connection.execute("SELECT campaign_id, settings FROM campaign_states"):
        try:
            stored_options(json.loads(settings))
        except Invalid as error:
            yield f"campaign_states, row {key}, settings, {error.found}; expected: {error.expected}"
        except (ValueError, RecursionError) as error:
            yield f"campaign_states, row {key}, settings: {shown(str(error))}; expected the options of a campaign"


def _key(table: str) -> str:
    return KEYS.get(table, "id")
