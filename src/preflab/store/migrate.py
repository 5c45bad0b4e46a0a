"""Migrates a database to the tables of this version of preflab, under the write lock.

Alembic takes half a second to import, so it is imported only if a migration has to run.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from preflab.errors import PreflabError
from preflab.files import keep_private
from preflab.store.database import reading, sqlite_engine, writing
from preflab.store.schema import SCHEMA_VERSION

MIGRATIONS = Path(__file__).parent / "migrations"


def bring_up_to_date(engine: Engine, file: Path | None) -> None:
    """Run the missing migrations; a SQLite file with data is backed up first.

    Args:
        engine: the database.
        file: its SQLite file; None for PostgreSQL, which is not backed up here.

    Raises:
        PreflabError: the database was written by a newer preflab, or the disk is full.
    """
    with reading(engine) as connection:
        if version_of(connection) == SCHEMA_VERSION:
            return
    with writing(engine) as connection:
        version = version_of(connection)  # another process may have migrated in the meantime
        if version == SCHEMA_VERSION:
            return
        _refuse_newer(version, engine)
        if version and file:
            backup(file, file.with_name(f"{file.name}.{version}.bak"))
        _upgrade(connection)


def version_of(connection: Connection) -> str:
    """The version of the newest migration that has run; "" for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def known_versions() -> list[str]:
    """The versions of all migrations in this preflab, oldest first."""
    return sorted(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def tables_of_version(file: Path, version: str) -> None:
    """Create an empty SQLite database with the tables of a version, to compare others with."""
    engine = sqlite_engine(file)
    try:
        with writing(engine) as connection:
            _upgrade(connection, version)
    finally:
        engine.dispose()


def backup(file: Path, target: Path) -> None:
    """Copy a SQLite database that may be in use, through a temporary file that is renamed.

    Raises:
        PreflabError: the copy could not be written.
    """
    partial = target.with_name(f"{target.name}.partial")
    try:
        keep_private(partial)
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        partial.replace(target)
    except (sqlite3.Error, OSError) as error:
        partial.unlink(missing_ok=True)
        raise PreflabError(f"{target}: {error}", "room for a copy of the database", "make room on the disk") from error


def _refuse_newer(version: str, engine: Engine) -> None:
    if version and version not in known_versions():
        raise PreflabError(
            f"the database {engine.url.database} has tables of version {version}",
            f"version {SCHEMA_VERSION} or older",
            "use the version of preflab that wrote it, or a newer one",
        )


def _upgrade(connection: Connection, version: str = "head") -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, version)
