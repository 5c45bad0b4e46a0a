"""New workspaces without the cost of Alembic: migrations run once per process, later databases repeat their SQL."""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect

from preflab.store.database import sqlite_engine, writing

Upgrade = Callable[..., None]


def repeating(upgrade: Upgrade) -> Upgrade:
    """`migrate._upgrade`, except that an empty SQLite database gets its tables by the SQL that made them once.

    Every other database (PostgreSQL, one with the tables of an older version) is migrated.
    """

    @functools.cache
    def statements(version: str) -> tuple[str, ...]:
        """What makes a database as the migrations leave it, rows that they put there included."""
        with tempfile.TemporaryDirectory() as folder:
            engine = sqlite_engine(Path(folder) / "tables.db")
            with writing(engine) as connection:
                upgrade(connection, version)
            engine.dispose()
            with closing(sqlite3.connect(Path(folder) / "tables.db")) as database:
                dump = tuple(database.iterdump())
        return tuple(statement for statement in dump if statement not in ("BEGIN TRANSACTION;", "COMMIT;"))

    def repeat(connection: Connection, version: str = "head") -> None:
        if connection.dialect.name != "sqlite" or inspect(connection).get_table_names():
            upgrade(connection, version)
            return
        for statement in statements(version):
            connection.exec_driver_sql(statement)

    return repeat
