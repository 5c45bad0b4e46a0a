"""New workspaces without the cost of Alembic: the migrations run once per process, later databases repeat their SQL."""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect

from preflab.store import migrate

Upgrade = Callable[..., None]


def repeating(upgrade: Upgrade) -> Upgrade:
    """`migrate._upgrade`, except that an empty SQLite database gets the newest tables by the SQL that made them once.

    Every other database (PostgreSQL, one of an older version, one that stops at an older version) is migrated.
    """

    def repeat(connection: Connection, version: str = "head") -> None:
        sqlite = connection.dialect.name == "sqlite"
        if version != "head" or not sqlite or inspect(connection).get_table_names():
            upgrade(connection, version)
            return
        for statement in newest_tables():
            connection.exec_driver_sql(statement)

    return repeat


@functools.cache
def newest_tables() -> tuple[str, ...]:
    """The statements that make a database as the migrations leave it, rows that they put there included."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tables.db"
        migrate.tables_of_version(file, "heads")  # under another name than the one that is repeated
        with closing(sqlite3.connect(file)) as database:
            dump = tuple(database.iterdump())
    return tuple(statement for statement in dump if statement not in ("BEGIN TRANSACTION;", "COMMIT;"))
