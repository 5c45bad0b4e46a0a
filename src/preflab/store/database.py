"""Engines and transactions: SQLite that survives a crash, PostgreSQL through the same code.

Acknowledged means stored: WAL with `synchronous=FULL`. Writes are opened with BEGIN IMMEDIATE, because a deferred
transaction that reads and then writes fails with "database is locked" when two people submit at once; PostgreSQL gets
the same order of writes from an advisory lock that ends with the transaction. Within a process, writers queue for a
lock of their own first: SQLite's waiting is a sleep of growing length, which lets the unlucky wait for long.
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
"""Seconds a writer waits for another one."""
POSTGRES_LOCK = 0x70726566
"""The advisory lock of preflab's writers: "pref" in ASCII."""
POOL = {"pool_size": 16, "max_overflow": 32}
"""Connections kept, and opened beyond that when more threads read at once."""
SQLITE_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON", f"busy_timeout={int(LOCK_WAIT * 1000)}")

_QUEUES: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
"""Engine → what its writers in this process queue for."""

to_json = partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def from_json(text: str | bytes) -> Any:
    """A stored value; None for one that is nested beyond reading, which older versions took as a draft."""
    try:
        return json.loads(text)
    except RecursionError:
        return None


AS_JSON: dict[str, Any] = {"json_serializer": to_json, "json_deserializer": from_json}


def sqlite_engine(file: Path) -> Engine:
    """An engine on a SQLite file, which is switched to WAL once and stays so."""
    url = URL.create("sqlite", database=str(file))
    engine = create_engine(url, **AS_JSON, connect_args={"timeout": LOCK_WAIT}, **POOL)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("preflab_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def switch_to_wal(file: Path) -> None:
    """Write-ahead logging, a property of the file; the switch itself does not wait for other openers, so we do."""
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
    """An engine for `postgresql://user@host/name` (psycopg 3); other databases are refused."""
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
    """A connection that sees one consistent state."""
    with _errors_in_words(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the one write lock from its first moment; all of it is stored, or nothing."""
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
    """What to do about the commoner database errors."""
    text = str(error).lower()
    for sign, advice in (
        ("full", "make room on the disk and run the command again; nothing was half-written"),
        ("readonly", "make the workspace folder writable"),
        ("unable to open", "make the workspace folder writable"),
        ("locked", "another program holds the database; end it or wait, and run the command again"),
        ("malformed", "restore the database from a backup"),
        ("not a database", "restore the database from a backup"),
        ("connection", "see whether the database server runs and the URL is right"),
        ("append-only", "put a new judgment with the next revision"),
    ):
        if sign in text:
            return advice
    return ""
