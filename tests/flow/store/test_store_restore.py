"""A backup is put back whole or not at all, and what it replaces is kept."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from labelling_world import make_campaign, put_labelers, send
from preflab.errors import PreflabError
from preflab.labelling.assignment import next_turn
from preflab.records import Prompt
from preflab.store.restore import check_backup, restore
from preflab.store.schema import SCHEMA_VERSION
from preflab.store.workspace import DATABASE, Workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace with one judgment, closed, and its backup beside it."""
    with Workspace.open(tmp_path / "w", create=True) as ws:
        campaign = make_campaign(ws, 2)
        (who,) = put_labelers(ws, 1)
        turn = next_turn(ws, campaign.id, who)
        assert turn is not None
        send(ws, turn)
        ws.backup(tmp_path / "saved.db")
        ws.put([Prompt.make(text="written after the backup")])
    return tmp_path / "w"


def texts(path: Path) -> set[str]:
    with Workspace.open(path) as ws:
        return {prompt.text for prompt in ws.prompts()}


def test_restore_brings_back_the_backup_and_keeps_the_replaced_database(folder: Path, tmp_path: Path) -> None:
    kept = restore(tmp_path / "saved.db", folder).former
    with Workspace.open(folder) as ws:
        assert {prompt.text for prompt in ws.prompts()} == {"Question 0?", "Question 1?"}
        assert len(ws.judgments()) == 1
        campaign, who = ws.campaigns()[0], ws.labelers()[0]
        turn = next_turn(ws, campaign.id, who.id)
        assert turn is not None
        assert not send(ws, turn).surplus, "labelling goes on"
    assert kept is not None
    (tmp_path / "old").mkdir()
    shutil.copy(kept, tmp_path / "old" / DATABASE)
    assert "written after the backup" in texts(tmp_path / "old")
    assert not list(folder.glob("*.partial"))


def test_restore_creates_a_missing_folder(folder: Path, tmp_path: Path) -> None:
    assert restore(tmp_path / "saved.db", tmp_path / "elsewhere" / "new").former is None
    assert texts(tmp_path / "elsewhere" / "new") == {"Question 0?", "Question 1?"}
    assert check_backup(tmp_path / "saved.db") == SCHEMA_VERSION


def test_restore_refuses_a_damaged_or_foreign_file(folder: Path, tmp_path: Path) -> None:
    before = texts(folder)
    damaged = bytearray((tmp_path / "saved.db").read_bytes())
    page = len(damaged) // 2 // 4096 * 4096
    damaged[page : page + 4096] = b"\xff" * 4096
    (tmp_path / "damaged.db").write_bytes(damaged)
    (tmp_path / "text.db").write_text("this is a text, not a database. " * 200)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (a)")
    shutil.copy(tmp_path / "saved.db", tmp_path / "newer.db")
    with closing(sqlite3.connect(tmp_path / "newer.db")) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '0999'")
        newer.commit()
    for name, found in [
        ("damaged.db", "malformed|damaged"),
        ("text.db", "not a database"),
        ("other.db", "alembic_version"),
        ("newer.db", "0999"),
        ("none.db", "no such file"),
    ]:
        with pytest.raises(PreflabError, match=found):
            restore(tmp_path / name, folder)
    assert texts(folder) == before
    assert not list(folder.glob("*.replaced-*"))
    assert not list(folder.glob("*.partial"))


def test_restore_refuses_a_workspace_in_use(folder: Path, tmp_path: Path) -> None:
    with Workspace.open(folder) as ws:
        ws.prompts()
        with pytest.raises(PreflabError, match="in use"):
            restore(tmp_path / "saved.db", folder)
        assert len(ws.prompts()) == 3
    assert len(texts(folder)) == 3


def test_restore_replaces_a_damaged_database(folder: Path, tmp_path: Path) -> None:
    (folder / DATABASE).write_bytes(b"nothing but noise " * 1000)
    kept = restore(tmp_path / "saved.db", folder).former
    assert kept is not None
    assert kept.read_bytes().startswith(b"nothing but noise")
    assert texts(folder) == {"Question 0?", "Question 1?"}
