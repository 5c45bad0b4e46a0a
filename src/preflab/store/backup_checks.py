"""What a backup must be before anything is replaced by it: whole, ours, of the version it says, with its images."""

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
"""Name, kind, whether it must be there, default, place in the key, whether it is generated."""

Reference = tuple[str, str, str]
"""Table, column, column there."""


class Table(NamedTuple):
    """A table as two databases are compared by it: the order of columns, spaces and quotes do not count."""

    columns: tuple[Column, ...]
    references: tuple[Reference, ...]
    words: tuple[str, ...]
    """The words of its CREATE TABLE, sorted: a migrated table has its columns at other places than a new one."""


Made = dict[tuple[str, str], object]
"""Kind and name of a table, trigger, view or index → its columns and words, or the words that made it."""

OF_SQLITE = {
    "sqlite_sequence": "CREATE TABLE sqlite_sequence(name,seq)",
    "sqlite_stat1": "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "sqlite_stat2": "CREATE TABLE sqlite_stat2(tbl,idx,sampleno,sample)",
    "sqlite_stat3": "CREATE TABLE sqlite_stat3(tbl,idx,neq,nlt,ndlt,sample)",
    "sqlite_stat4": "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
}
"""SQLite's own counters and statistics. SQLite runs the SQL of a row whatever kind and name the row states, so the SQL
has to be the known one too."""
TYPES = {
    "TEXT": ("text", "null"),
    "INTEGER": ("integer", "null"),
    "BIGINT": ("integer", "null"),
    "BOOLEAN": ("integer", "null"),
    "DOUBLE": ("real", "integer", "null"),
    "BLOB": ("blob", "null"),
}
"""Declared type → the types of its values, by SQLite's names."""
SQL_WORD = re.compile(r"""'(?:[^']|'')*'|"((?:[^"]|"")*)"|`([^`]*)`|\[([^\]]*)\]|\w+|[^\w\s]""")
EXPECTED = "a file that `preflab backup` wrote"
OLDER = "use an older backup"
SPARE = 16 * 2**20
"""Bytes that stay free on the disk."""


def check_backup(file: Path) -> str:
    """Read every page of a database; returns the version of its tables.

    Raises:
        PreflabError: it is damaged, no preflab database, of a newer preflab, or has other tables, columns or triggers
            than its version has; a row names another one that is not there, or holds a value of another type than
            its column's.
    """
    if not file.is_file():
        raise PreflabError(f"{file}: there is no such file", EXPECTED)
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            made = _made(connection)
            orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
            no_json = _no_json(connection, made)
            mistyped = _mistyped(connection, made)
    except sqlite3.DatabaseError as error:
        raise PreflabError(f"{file}: {error}", EXPECTED, OLDER) from None
    if verdict != "ok":
        raise PreflabError(f"{file}: the database is damaged: {verdict}", EXPECTED, OLDER)
    if len(versions) != 1 or versions[0][0] not in known_versions():
        found = f"version {versions[0][0]}" if len(versions) == 1 else f"{len(versions)} versions"
        raise PreflabError(f"{file}: tables of {found}", f"one of {', '.join(known_versions())}", "update preflab")
    version = str(versions[0][0])
    _check_tables(file, version, made)
    if orphan is not None:
        found = f"row {orphan[1]} of {orphan[0]} names a row of {orphan[2]} that is not there"
        raise PreflabError(f"{file}: {found}", EXPECTED, OLDER)
    if no_json is not None:
        raise PreflabError(f"{file}: {no_json} holds something that is not JSON", EXPECTED, OLDER)
    if mistyped is not None:
        raise PreflabError(f"{file}: {mistyped}", EXPECTED, OLDER)
    return version


def check_images(folder: Path) -> list[Path]:
    """The images beside a backup, none where there is no such folder.

    Raises:
        PreflabError: something in it is no plain file: a link could lead anywhere, a pipe never ends.
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
    """Refuse what would fill the disk.

    Raises:
        PreflabError: less is free than these sizes together.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    needed, free = sum(sizes) + SPARE, shutil.disk_usage(existing).free
    if needed > free:
        raise PreflabError(
            f"{folder}: {free // 2**20:,} MB are free", f"{needed // 2**20 + 1:,} MB, the backup's copy and its images",
            "make room on the disk; nothing was changed",
        )  # fmt: skip


def _check_tables(file: Path, version: str, made: Made) -> None:
    """Tables, columns, triggers, views and indexes are those of the version."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "own.db"
        tables_of_version(fresh, version)
        with closing(sqlite3.connect(fresh)) as connection:
            ours = _made(connection)
    for kind, name in sorted(ours.keys() | made.keys()):
        if ours.get((kind, name)) == made.get((kind, name)):
            continue
        how = "is not there" if (kind, name) not in made else "is other" if (kind, name) in ours else "is not preflab's"
        raise PreflabError(
            f"{file}: the {kind} {name} {how}", f"the tables of version {version}, as the file says it has", OLDER
        )


def _made(connection: sqlite3.Connection) -> Made:
    """Returns the schema of a database without SQLite's own statistics, counters and indexes of keys."""
    found: Made = {}
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
        is_automatic = kind == "index" and name.startswith("sqlite_autoindex_") and sql is None
        if is_automatic or (kind == "table" and sql is not None and OF_SQLITE.get(name) == sql):
            continue
        made = _table(connection, name, sql) if kind == "table" else " ".join(str(sql).split())
        # A second object by the same name would hide behind the first.
        found[(kind, name)] = (found[(kind, name)], made) if (kind, name) in found else made
    return found


def _table(connection: sqlite3.Connection, name: str, sql: str | None) -> Table:
    words = (
        next((group for group in word.groups() if group is not None), word[0]) for word in SQL_WORD.finditer(sql or "")
    )
    rows = connection.execute(f"PRAGMA foreign_key_list({_quoted(name)})").fetchall()
    references = tuple(sorted((row[2], row[3], row[4] or "") for row in rows))
    return Table(_columns(connection, name), references, tuple(sorted(words)))


def _no_json(connection: sqlite3.Connection, made: Made) -> str | None:
    """The first column declared as JSON in which something else stands: `settings of campaign_states`."""
    for kind, table in sorted(made):
        if kind != "table":
            continue
        for column, declared, *_ in _columns(connection, table):
            wrong = f'SELECT 1 FROM "{table}" WHERE "{column}" IS NOT NULL AND NOT json_valid("{column}") LIMIT 1'
            if declared == "JSON" and '"' not in table + column and connection.execute(wrong).fetchone():
                return f"{column} of {table}"
    return None


def _mistyped(connection: sqlite3.Connection, made: Made) -> str | None:
    """The first value of another type than its column's: SQLite stores any value in any column."""
    for kind, table in sorted(made):
        typed = [column for column in _columns(connection, table) if column[1] in TYPES] if kind == "table" else []
        for name, declared, *_ in typed:
            column, types = _quoted(name), ", ".join(f"'{each}'" for each in TYPES[declared])
            query = f"SELECT rowid, typeof({column}) FROM {_quoted(table)} WHERE typeof({column}) NOT IN ({types})"
            if row := connection.execute(f"{query} LIMIT 1").fetchone():
                return f"row {row[0]} of {table} holds {name} as {row[1]}, expected {TYPES[declared][0]}"
    return None


def _columns(connection: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    """The columns of a table, sorted by name."""
    rows = connection.execute(f"PRAGMA table_xinfo({_quoted(table)})").fetchall()
    return tuple(sorted((tuple(row[1:7]) for row in rows), key=lambda column: str(column[0])))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
