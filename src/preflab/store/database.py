"""Database engines and transactions for SQLite (crash-safe) and PostgreSQL, through the same code.

A committed write survives a crash: SQLite runs in WAL mode with `synchronous=FULL`. Write transactions start with
BEGIN IMMEDIATE, because a deferred transaction that reads and then writes fails with "database is locked" when two
people submit at once. PostgreSQL serialises writers by an advisory lock that ends with the transaction. The writers of
one process first queue for a Python lock, because SQLite waits by sleeping for growing times, which is unfair.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, StatementError

from preflab.errors import PreflabError

LOCK_WAIT = 60.0
"""Seconds that a writer waits for another one to finish."""
POSTGRES_LOCK = 0x70726566
"""The advisory lock of preflab's writers: "pref" in ASCII."""
POOL = {"pool_size": 16, "max_overflow": 32}
"""Connections kept open, and further ones opened when more threads read at once."""
SQLITE_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON", f"busy_timeout={int(LOCK_WAIT * 1000)}")

_QUEUES: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
"""Engine → the lock that serialises its writers in this process."""

to_json = partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def from_json(text: str | bytes) -> Any:
    """The value of stored JSON; None if it is nested too deeply to parse (older versions stored such drafts)."""
    try:
        return json.loads(text)
    except RecursionError:
        return None


AS_JSON: dict[str, Any] = {"json_serializer": to_json, "json_deserializer": from_json}


def sqlite_engine(file: Path) -> Engine:
    """An engine for a SQLite file; see `switch_to_wal` for its journal mode."""
    url = URL.create("sqlite", database=str(file))
    engine = create_engine(url, **AS_JSON, connect_args={"timeout": LOCK_WAIT}, **POOL)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_begin_sqlite` sends BEGIN itself
    for pragma in SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("preflab_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def switch_to_wal(file: Path) -> None:
    """Switch a SQLite file to write-ahead logging, permanently.

    SQLite does not wait for other connections when it switches, so this function retries for `LOCK_WAIT` seconds.

    Raises:
        PreflabError: the file is locked, cannot be written, or is not a SQLite database.
    """
    import sqlite3

    until = time.monotonic() + LOCK_WAIT
    while True:
        connection = sqlite3.connect(file, timeout=LOCK_WAIT)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise PreflabError(
                    f"{file}: {error}", "a SQLite database that can be written", _advice(error)
                ) from None
            time.sleep(0.02)
        except sqlite3.DatabaseError as error:
            raise PreflabError(f"{file}: {error}", "a SQLite database", "restore the file from a backup") from None
        finally:
            connection.close()


def engine_of_url(url: str) -> Engine:
    """An engine for a URL such as `postgresql://user@host/name` (psycopg 3).

    Raises:
        PreflabError: another kind of database, a URL that cannot be read, or psycopg is not installed.
    """
    expected = "a URL such as postgresql://user@host/name"
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "postgresql":
            raise PreflabError(f"a database URL of the kind {parsed.get_backend_name()!r}", expected)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        return create_engine(parsed, **AS_JSON, pool_pre_ping=True, **POOL)
    except ModuleNotFoundError as error:
        raise PreflabError(f"PostgreSQL needs {error.name}", do="pip install 'preflab[postgres]'") from None
    except (ArgumentError, NoSuchModuleError):
        raise PreflabError("a database URL that cannot be read", expected) from None


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a read transaction."""
    with _errors_in_words(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction that holds the write lock from its start; all of it is stored or nothing."""
    with (
        _turn_in_queue(engine),
        _errors_in_words(engine),
        engine.connect().execution_options(preflab_write=True) as connection,
        connection.begin(),
    ):
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({POSTGRES_LOCK})")
        yield connection


@contextmanager
def _turn_in_queue(engine: Engine) -> Iterator[None]:
    queue = _QUEUES.setdefault(engine, threading.Lock())
    if not queue.acquire(timeout=LOCK_WAIT):
        raise PreflabError("the database is locked by a writer of this process", do="wait, and try again")
    try:
        yield
    finally:
        queue.release()


@contextmanager
def _errors_in_words(engine: Engine) -> Iterator[None]:
    try:
        yield
    except StatementError as error:
        what = error.orig or error
        where = f"the database {engine.url.database}"
        if isinstance(error, DBAPIError):
            raise PreflabError(f"{where}: {str(what).strip()}", do=_advice(what)) from error
        raise PreflabError(
            f"{where}: a value it cannot hold: {what}", "JSON values without NaN and infinity"
        ) from error


def _advice(error: BaseException) -> str:
    """What to do about a common database error; "" for other errors."""
    text = str(error).lower()
    for sign, advice in (
        ("full", "make room on the disk and run the command again; nothing was half-written"),
        ("readonly", "make the workspace folder writable"),
        ("unable to open", "make the workspace folder writable"),
        ("locked", "another program holds the database; end it or wait, and run the command again"),
        ("malformed", "restore the database from a backup"),
        ("not a database", "restore the database from a backup"),
        ("connection", "check that the database server runs and that the URL is right"),
        ("append-only", "store a new judgment with the next revision"),
    ):
        if sign in text:
            return advice
    return ""
