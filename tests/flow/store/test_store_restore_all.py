"""Everything about a backup is checked before one swap: refused, or killed at any moment, nothing is half restored."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from labelling_world import make_campaign
from preflab.errors import PreflabError
from preflab.records import Prompt
from preflab.store import restore as restoring
from preflab.store.backup_checks import check_backup
from preflab.store.images import FOLDER, images_of_backup
from preflab.store.migrate import known_versions, tables_of_version
from preflab.store.restore import restore
from preflab.store.schema import SCHEMA_VERSION
from preflab.store.workspace import DATABASE, Workspace

SOURCE = Path(__file__).resolve().parents[3] / "src"


def image(number: int) -> tuple[str, bytes]:
    """The name and the bytes of an image."""
    data = b"\x89PNG\r\n\x1a\n" + bytes([number]) * 3_000_000
    return f"{hashlib.sha256(data).hexdigest()}.png", data


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup with a campaign and three images; the workspace `w` has changed since and has one image."""
    with Workspace.open(tmp_path / "w", create=True) as ws:
        make_campaign(ws, 2)
        ws.backup(tmp_path / "saved.db")
        ws.put([Prompt.make(text="written after the backup")])
    for folder, numbers in ((images_of_backup(tmp_path / "saved.db"), (1, 2, 3)), (tmp_path / "w" / FOLDER, (1,))):
        folder.mkdir()
        for number in numbers:
            name, data = image(number)
            (folder / name).write_bytes(data)
    return tmp_path / "saved.db"


def state(folder: Path) -> dict[str, str]:
    """Name → hash of every file of a workspace; of the database, what is in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(DATABASE):
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    found[DATABASE] = ", ".join(texts(folder))
    return found


def texts(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return sorted(text for (text,) in connection.execute("SELECT text FROM prompts"))


NEW = ["Question 0?", "Question 1?"]
OLD = [*NEW, "written after the backup"]


def changed(backup: Path, *statements: str) -> None:
    with closing(sqlite3.connect(backup)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def replace_image(backup: Path, make: Callable[[Path], Any]) -> None:
    """Something else in an image's place."""
    path = images_of_backup(backup) / image(2)[0]
    path.unlink()
    make(path)


def forged(backup: Path, *statements: str) -> None:
    """Rows of the schema changed behind SQLite's back, as a file from somebody else may have them."""
    changed(backup, "PRAGMA writable_schema=ON", *statements)


def with_words(backup: Path, table: str, old: str, new: str) -> None:
    """The CREATE TABLE of a table in other words."""
    forged(backup, f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new}') WHERE name = '{table}'")
    with closing(sqlite3.connect(backup)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        assert new.replace("''", "'") in sql


EVIL = "CREATE TRIGGER sqlite_stat{} AFTER INSERT ON events BEGIN DELETE FROM accounts; END"


def with_hidden_trigger(backup: Path, number: int, kind: str) -> None:
    """A trigger that calls itself one of SQLite's tables of statistics."""
    row = f"('{kind}', 'sqlite_stat{number}', 'events', 0, '{EVIL.format(number)}')"
    forged(backup, f"INSERT INTO sqlite_master VALUES {row}")


FALSE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a table is missing": (lambda b: changed(b, "DROP TABLE submissions"), "table submissions is missing"),
    "a column is missing": (lambda b: changed(b, "ALTER TABLE turns DROP COLUMN active_ms"), "table turns differs"),
    "a column more": (lambda b: changed(b, "ALTER TABLE turns ADD COLUMN x TEXT"), "table turns differs"),
    "a false version": (lambda b: changed(b, "UPDATE alembic_version SET version_num = '0001'"), "not preflab's"),
    "two versions": (lambda b: changed(b, "INSERT INTO alembic_version VALUES ('0001')"), "2 versions"),
    "no version": (lambda b: changed(b, "DELETE FROM alembic_version"), "0 versions"),
    "a trigger": (
        lambda b: changed(b, "CREATE TRIGGER t AFTER INSERT ON judgments BEGIN DELETE FROM prompts; END"),
        "trigger t is not preflab's",
    ),
    "another trigger by our name": (
        lambda b: changed(
            b, "DROP TRIGGER events_refuse_update",
            "CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events BEGIN SELECT 1; END",
        ),
        "trigger events_refuse_update differs",
    ),
    "a trigger by a name of SQLite's": (
        lambda b: with_hidden_trigger(b, 9, "trigger"), "trigger sqlite_stat9 is not preflab's",
    ),
    "a trigger by the kind and name of SQLite's": (
        lambda b: with_hidden_trigger(b, 1, "table"), "sqlite_stat1",
    ),
    "a check more": (
        lambda b: with_words(b, "events", "at TEXT NOT NULL", "at TEXT NOT NULL CHECK (length(at) > 99)"),
        "table events differs",
    ),
    "another default": (
        lambda b: with_words(b, "accounts", "everywhere BOOLEAN DEFAULT 1", "everywhere BOOLEAN DEFAULT 0"),
        "table accounts differs",
    ),
    "a default more": (
        lambda b: with_words(b, "accounts", "role TEXT NOT NULL", "role TEXT DEFAULT ''lead'' NOT NULL"),
        "table accounts differs",
    ),
    "a generated column": (
        lambda b: with_words(b, "devices", "seen_at TEXT NOT NULL", "seen_at TEXT AS (token_hash) NOT NULL"),
        "table devices differs",
    ),
    "no trigger": (lambda b: changed(b, "DROP TRIGGER events_refuse_delete"), "events_refuse_delete is missing"),
    "a view": (lambda b: changed(b, "CREATE VIEW v AS SELECT * FROM accounts"), "view v is not preflab's"),
    "a table of others": (lambda b: changed(b, "CREATE TABLE t (a)"), "table t is not preflab's"),
    "a row without its parent": (
        lambda b: changed(b, "PRAGMA foreign_keys=OFF", "DELETE FROM prompts"), "refers to a missing row",
    ),
    "settings that are no JSON": (
        lambda b: changed(b, "UPDATE prompts SET columns = 'not json'"), "columns of prompts holds a value",
    ),
    "a link among the images": (lambda b: replace_image(b, lambda p: p.symlink_to("/etc/passwd")), "a link"),
    "a link to an image": (
        lambda b: replace_image(b, lambda p: p.symlink_to(images_of_backup(b) / image(1)[0])), "a link",
    ),
    "a pipe among the images": (lambda b: replace_image(b, os.mkfifo), "not a plain file"),
    "a folder among the images": (lambda b: replace_image(b, Path.mkdir), "not a plain file"),
    "another image by its name": (lambda b: replace_image(b, lambda p: p.write_bytes(image(3)[1])), "its bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_restore_refuses_a_false_backup_and_changes_nothing(backup: Path, tmp_path: Path, name: str) -> None:
    spoil, said = FALSE[name]
    spoil(backup)
    before = state(tmp_path / "w")
    with pytest.raises(PreflabError, match=said):
        restore(backup, tmp_path / "w")
    assert state(tmp_path / "w") == before
    assert not list((tmp_path / "w").glob("*.replaced-*"))
    assert not list((tmp_path / "w").glob("*.partial"))
    with pytest.raises(PreflabError):
        restore(backup, tmp_path / "new")
    assert not (tmp_path / "new" / DATABASE).exists()


def test_restore_accepts_statistics_of_sqlite(backup: Path, tmp_path: Path) -> None:
    changed(backup, "ANALYZE")
    restore(backup, tmp_path / "w")
    assert texts(tmp_path / "w") == NEW


def test_restore_brings_back_database_and_images(backup: Path, tmp_path: Path) -> None:
    found = restore(backup, tmp_path / "w")
    assert (texts(tmp_path / "w"), found.num_images) == (NEW, 2)
    assert {path.name for path in (tmp_path / "w" / FOLDER).iterdir()} == {image(number)[0] for number in (1, 2, 3)}
    assert found.former is not None
    assert found.former.stat().st_mode & 0o077 == 0
    assert (tmp_path / "w" / DATABASE).stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(found.former)) as kept:
        assert len(kept.execute("SELECT text FROM prompts").fetchall()) == 3


@pytest.mark.parametrize("version", [each for each in known_versions() if each != SCHEMA_VERSION])
def test_restore_migrates_the_copy_of_an_older_backup(tmp_path: Path, version: str) -> None:
    old = tmp_path / "old.db"
    tables_of_version(old, version)
    row = "('prompt-1', 'of old', '[]', '{}', '')"
    changed(
        old, "PRAGMA journal_mode=DELETE", f"INSERT INTO prompts (id, text, messages, columns, source) VALUES {row}"
    )
    before = old.read_bytes()
    restore(old, tmp_path / "w")
    assert old.read_bytes() == before
    assert check_backup(old) == version
    with Workspace.open(tmp_path / "w") as ws:
        assert [prompt.text for prompt in ws.prompts()] == ["of old"]
    assert {path.name for path in (tmp_path / "w").iterdir()} <= {
        DATABASE,
        "runs",
        f"{DATABASE}-wal",
        f"{DATABASE}-shm",
    }


@pytest.mark.parametrize("settings", ['{"labelers": 3}', "[1]"])
def test_restore_refuses_a_row_that_cannot_be_migrated(tmp_path: Path, settings: str) -> None:
    old = tmp_path / "old.db"
    tables_of_version(old, "0002")
    campaign = "('c', 'n', 'ranking', 'q', 1, '', 1, 3, '[]', 'plain', '{}', 0)"
    state_row = f"('c', 'open', '{settings}', 1, 0, 0, 0, '')"
    changed(
        old, "PRAGMA journal_mode=DELETE",
        f"INSERT INTO campaigns VALUES {campaign}", f"INSERT INTO campaign_states VALUES {state_row}",
    )  # fmt: skip
    with pytest.raises(PreflabError, match="a row that version 0002 cannot have written"):
        restore(old, tmp_path / "w")
    assert not (tmp_path / "w" / DATABASE).exists()


def test_restore_checks_the_room_on_the_disk_first(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("preflab.store.backup_checks.shutil.disk_usage", lambda _: usage._replace(free=20_000_000))
    before = state(tmp_path / "w")
    with pytest.raises(PreflabError, match="19 MB are free"):
        restore(backup, tmp_path / "w")
    assert state(tmp_path / "w") == before


def refused(backup: Path, folder: Path) -> str:
    """Why a backup was not restored; "" where it was."""
    try:
        restore(backup, folder)
    except PreflabError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("at", range(1, 12))
def test_restore_on_a_full_disk_changes_nothing(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The n-th call that writes finds the disk full: the copy, an image, a rename, the swap."""
    calls = 0

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                raise OSError(28, "No space left on device")
            return real(*args, **named)

        return call

    before = state(tmp_path / "w")
    with monkeypatch.context() as patch:
        for module, name in ((shutil, "copyfile"), (os, "fsync"), (os, "replace"), (os, "link")):
            patch.setattr(module, name, failing(getattr(module, name)))
        said = refused(backup, tmp_path / "w")
    assert said == "" or "No space left" in said
    if texts(tmp_path / "w") == OLD:
        assert state(tmp_path / "w") == before
        assert not list((tmp_path / "w").glob("*.replaced-*"))
    else:
        assert texts(tmp_path / "w") == NEW
        assert len(list((tmp_path / "w" / FOLDER).iterdir())) == 3
    assert not list((tmp_path / "w").glob("*.partial*"))


KILLED = """
import os, shutil, signal, sys
at, calls = int(sys.argv[3]), 0
def dying(real):
    def call(*args, **named):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **named)
    return call
from preflab.store.restore import restore
for module, name in ((shutil, "copyfile"), (os, "fsync"), (os, "replace"), (os, "link"), (shutil, "rmtree")):
    setattr(module, name, dying(getattr(module, name)))
restore(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_restore_killed_at_any_moment_leaves_a_whole_workspace(backup: Path, tmp_path: Path) -> None:
    """Killed at each of its calls that write: the one database or the other, whole, and the next restore works."""
    ends = []
    for at in range(1, 60):
        workspace = tmp_path / f"w{at}"
        shutil.copytree(tmp_path / "w", workspace)
        command = [sys.executable, "-c", KILLED, str(backup), str(workspace), str(at)]
        code = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SOURCE)}).returncode
        found = texts(workspace)
        assert found in (OLD, NEW)
        if found == NEW:
            assert len(list((workspace / FOLDER).glob("*.png"))) == 3, "its images are there before it is"
        ends.append(found)
        restore(backup, workspace)
        assert texts(workspace) == NEW
        assert not list(workspace.glob("*.partial*"))
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert code == 0
    assert OLD in ends
    assert len(ends) > 8


def test_restore_reads_images_piece_by_piece(backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> bytes:
        raise AssertionError("a whole file in memory")

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert restore(backup, tmp_path / "w").num_images == 2


def test_restore_clears_the_files_of_a_killed_one(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "w" / f"{restoring.DATABASE}.partial").write_bytes(b"half of it")
    (tmp_path / "w" / f"{FOLDER}.partial").mkdir()
    (tmp_path / "w" / f"{FOLDER}.partial" / image(2)[0]).write_bytes(b"half of it")
    restore(backup, tmp_path / "w")
    assert texts(tmp_path / "w") == NEW
    assert (tmp_path / "w" / FOLDER / image(2)[0]).read_bytes() == image(2)[1]
