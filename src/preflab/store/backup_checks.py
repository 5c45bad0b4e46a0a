"""Checks a backup before it replaces anything: undamaged, written by preflab, tables of its stated version, images."""

from __future__ import annotations

import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from preflab.errors import PreflabError
from preflab.store.images import IMAGE_NAME
from preflab.store.migrate import known_versions, tables_of_version

Column = tuple[str, str, int, str | None, int, int]
"""(name, type, NOT NULL, default, position in the primary key, generated), as `PRAGMA table_xinfo` has them."""

Reference = tuple[str, str, str]
"""(table referred to, column, column of that table)."""


class Table(NamedTuple):
    """A table in a form that can be compared: without the order of columns, white space and quotes."""

    columns: tuple[Column, ...]
    references: tuple[Reference, ...]
    words: tuple[str, ...]
    """The words of its CREATE TABLE, sorted, since a migrated table has its columns in another order than a new one."""


Schema = dict[tuple[str, str], object]
"""(kind, name) of a table, trigger, view or index → a `Table`, or the SQL of the other kinds."""

OF_SQLITE = {
    "sqlite_sequence": "CREATE TABLE sqlite_sequence(name,seq)",
    "sqlite_stat1": "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "sqlite_stat2": "CREATE TABLE sqlite_stat2(tbl,idx,sampleno,sample)",
    "sqlite_stat3": "CREATE TABLE sqlite_stat3(tbl,idx,neq,nlt,ndlt,sample)",
    "sqlite_stat4": "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
}
"""SQLite's own tables → their SQL. The SQL is compared too, because SQLite executes the SQL of a schema row whatever
its kind and name say."""
TYPES = {
    "TEXT": ("text", "null"),
    "INTEGER": ("integer", "null"),
    "BIGINT": ("integer", "null"),
    "BOOLEAN": ("integer", "null"),
    "DOUBLE": ("real", "integer", "null"),
    "BLOB": ("blob", "null"),
}
"""Declared type → the types that its values may have, by SQLite's names."""
SQL_WORD = re.compile(r"""'(?:[^']|'')*'|"((?:[^"]|"")*)"|`([^`]*)`|\[([^\]]*)\]|\w+|[^\w\s]""")
EXPECTED = "a file that `preflab backup` wrote"
OLDER = "use an older backup"
SPARE = 16 * 2**20
"""Bytes that must stay free on the disk."""


def check_backup(file: Path) -> str:
    """Check every page of a database file and return the version of its tables.

    Raises:
        PreflabError: the file is damaged, is not a preflab database, or comes from a newer preflab; its tables, columns
            or triggers differ from those of its version; a row refers to a missing row, or a value has the wrong type.
    """
    if not file.is_file():
        raise PreflabError(f"{file}: there is no such file", EXPECTED)
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            schema = _read_schema(connection)
            orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
            no_json = _find_non_json(connection, schema)
            mistyped = _find_mistyped(connection, schema)
    except sqlite3.DatabaseError as error:
        raise PreflabError(f"{file}: {error}", EXPECTED, OLDER) from None
    if verdict != "ok":
        raise PreflabError(f"{file}: the database is damaged: {verdict}", EXPECTED, OLDER)
    if len(versions) != 1 or versions[0][0] not in known_versions():
        found = f"version {versions[0][0]}" if len(versions) == 1 else f"{len(versions)} versions"
        raise PreflabError(f"{file}: tables of {found}", f"one of {', '.join(known_versions())}", "update preflab")
    version = str(versions[0][0])
    _check_tables(file, version, schema)
    if orphan is not None:
        found = f"row {orphan[1]} of {orphan[0]} refers to a missing row of {orphan[2]}"
        raise PreflabError(f"{file}: {found}", EXPECTED, OLDER)
    if no_json is not None:
        raise PreflabError(f"{file}: {no_json} holds a value that is not JSON", EXPECTED, OLDER)
    if mistyped is not None:
        raise PreflabError(f"{file}: {mistyped}", EXPECTED, OLDER)
    return version


def check_images(folder: Path) -> list[Path]:
    """The images in the folder beside a backup; [] if there is no such folder.

    Raises:
        PreflabError: the folder holds a link, which could lead anywhere, or another entry that is not a regular file.
    """
    if not folder.exists() and not folder.is_symlink():
        return []
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise PreflabError(f"{folder}: not a folder", "the images that `preflab backup` wrote", "take the link away")
    files = sorted(folder.iterdir())
    for path in files:
        if not stat.S_ISREG(path.lstat().st_mode):
            what = "a link" if path.is_symlink() else "not a plain file"
            raise PreflabError(
                f"{path}: {what}", "the images that `preflab backup` wrote, plain files", "take it out of the folder"
            )
    return [path for path in files if IMAGE_NAME.fullmatch(path.name)]


def check_room(folder: Path, sizes: Iterable[int]) -> None:
    """Check that the disk has room for files of these sizes (bytes) and `SPARE`.

    Raises:
        PreflabError: not enough room.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    needed, free = sum(sizes) + SPARE, shutil.disk_usage(existing).free
    if needed > free:
        raise PreflabError(
            f"{folder}: {free // 2**20:,} MB are free",
            f"{needed // 2**20 + 1:,} MB for the copy of the backup and its images",
            "make room on the disk; nothing was changed",
        )  # fmt: skip


def _check_tables(file: Path, version: str, schema: Schema) -> None:
    """Refuse a schema whose tables, columns, triggers, views or indexes are not those of the version."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "own.db"
        tables_of_version(fresh, version)
        with closing(sqlite3.connect(fresh)) as connection:
            right = _read_schema(connection)
    for kind, name in sorted(right.keys() | schema.keys()):
        if right.get((kind, name)) == schema.get((kind, name)):
            continue
        how = "differs" if (kind, name) in right else "is not preflab's"
        raise PreflabError(
            f"{file}: the {kind} {name} {how if (kind, name) in schema else 'is missing'}",
            f"the tables of version {version}, which the file claims to have",
            OLDER,
        )


def _read_schema(connection: sqlite3.Connection) -> Schema:
    """The schema of a database without SQLite's own statistics, counters and key indexes."""
    found: Schema = {}
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
        is_automatic = kind == "index" and name.startswith("sqlite_autoindex_") and sql is None
        if is_automatic or (kind == "table" and sql is not None and OF_SQLITE.get(name) == sql):
            continue
        entry = _describe_table(connection, name, sql) if kind == "table" else " ".join(str(sql).split())
        # Keep both objects of one name: a second one must not hide behind the first.
        found[(kind, name)] = (found[(kind, name)], entry) if (kind, name) in found else entry
    return found


def _describe_table(connection: sqlite3.Connection, name: str, sql: str | None) -> Table:
    words = (
        next((group for group in word.groups() if group is not None), word[0]) for word in SQL_WORD.finditer(sql or "")
    )
    rows = connection.execute(f"PRAGMA foreign_key_list({_quote(name)})").fetchall()
    references = tuple(sorted((row[2], row[3], row[4] or "") for row in rows))
    return Table(_columns(connection, name), references, tuple(sorted(words)))


def _find_non_json(connection: sqlite3.Connection, schema: Schema) -> str | None:
    """The first JSON column with a value that is not JSON, e.g. `settings of campaign_states`; None without any."""
    for kind, table in sorted(schema):
        if kind != "table":
            continue
        for column, declared, *_ in _columns(connection, table):
            wrong = f'SELECT 1 FROM "{table}" WHERE "{column}" IS NOT NULL AND NOT json_valid("{column}") LIMIT 1'
            if declared == "JSON" and '"' not in table + column and connection.execute(wrong).fetchone():
                return f"{column} of {table}"
    return None


def _find_mistyped(connection: sqlite3.Connection, schema: Schema) -> str | None:
    """The first value whose type is not its column's, in words; None without any. SQLite does not enforce types."""
    for kind, table in sorted(schema):
        typed = [column for column in _columns(connection, table) if column[1] in TYPES] if kind == "table" else []
        for name, declared, *_ in typed:
            column, types = _quote(name), ", ".join(f"'{each}'" for each in TYPES[declared])
            query = f"SELECT rowid, typeof({column}) FROM {_quote(table)} WHERE typeof({column}) NOT IN ({types})"
            if row := connection.execute(f"{query} LIMIT 1").fetchone():
                return f"row {row[0]} of {table} holds {name} as {row[1]}, expected {TYPES[declared][0]}"
    return None


def _columns(connection: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    """The columns of a table, sorted by name."""
    rows = connection.execute(f"PRAGMA table_xinfo({_quote(table)})").fetchall()
    return tuple(sorted((tuple(row[1:7]) for row in rows), key=lambda column: str(column[0])))


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
