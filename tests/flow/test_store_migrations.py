"""A workspace of an older version is backed up and brought up to date with everything that was in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text, update

from preflab.errors import PreflabError
from preflab.records import Campaign, Completion, Judgment, Labeler, Prompt, RankingAnswer, Task
from preflab.store import migrate
from preflab.store.database import engine_of_url, reading, sqlite_engine, switch_to_wal, writing
from preflab.store.rows import BY_RECORD
from preflab.store.schema import SCHEMA_VERSION, JudgmentRow
from preflab.store.workspace import DATABASE, Workspace

PROMPT = Prompt.make(text="Where is my parcel?")
COMPLETIONS = [Completion.make(PROMPT.id, words, "model-x", index=n) for n, words in enumerate(["Here.", "Gone."])]
LABELER = Labeler("labeler-1", "owl", "person")
CAMPAIGN = Campaign("campaign-1", "kindness", "ranking", criteria=("kind",))
TASK = Task("task-1", CAMPAIGN.id, PROMPT.id, tuple(c.id for c in COMPLETIONS))
JUDGMENT = Judgment(
    "judgment-1",
    CAMPAIGN.id,
    TASK.id,
    PROMPT.id,
    TASK.completion_ids,
    (1, 0),
    "Which?",
    1,
    RankingAnswer((2, 1)),
    LABELER.id,
    "person",
)
ALL = [PROMPT, *COMPLETIONS, LABELER, CAMPAIGN, TASK, JUDGMENT]
CAME_WITH_0002 = {"content", "scale_ends", "ask_note", "decides", "shown_ms"}


def write_as_0001(engine: Engine) -> None:
    """The tables of version 0001 and the records in them, without the columns that came later."""
    from alembic import command
    from alembic.config import Config

    with writing(engine) as connection:
        config = Config()
        config.set_main_option("script_location", str(migrate.MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for record in ALL:
            kind = BY_RECORD[type(record)]
            row = {name: value for name, value in kind.to_row(record).items() if name not in CAME_WITH_0002}
            connection.execute(insert(kind.table).values(row))
            for field, (links, _) in kind.links.items():
                for position, child in enumerate(getattr(record, field)):
                    connection.execute(insert(links).values(parent_id=record.id, position=position, child_id=child))


def check_what_was_there(workspace: Workspace) -> None:
    """Every record is there, and its judgments are as append-only as before."""
    with reading(workspace.engine) as connection:
        assert migrate.version_of(connection) == SCHEMA_VERSION
    assert workspace.campaigns() == [CAMPAIGN]
    assert workspace.tasks() == [TASK]
    assert workspace.judgments() == [JUDGMENT]
    assert sum(workspace.put(ALL).values()) == 0
    with pytest.raises(PreflabError, match="append-only"), writing(workspace.engine) as connection:
        connection.execute(update(JudgmentRow.__table__).values(note="changed"))


def test_a_workspace_of_version_0001_is_backed_up_and_migrated(tmp_path: Path) -> None:
    file = tmp_path / DATABASE
    switch_to_wal(file)
    engine = sqlite_engine(file)
    write_as_0001(engine)
    engine.dispose()
    with Workspace.open(tmp_path) as workspace:
        check_what_was_there(workspace)
    with closing(sqlite3.connect(tmp_path / f"{DATABASE}.0001.bak")) as saved:
        assert saved.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        assert saved.execute("SELECT id FROM judgments").fetchall() == [(JUDGMENT.id,)]
        assert saved.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.fixture
def empty_postgres(postgres_url: str) -> str:
    """A database of its own on the test server."""
    engine = engine_of_url(postgres_url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE older"))
    engine.dispose()
    return postgres_url.rpartition("/")[0] + "/older"


def test_the_same_on_postgresql(tmp_path: Path, empty_postgres: str) -> None:
    engine = engine_of_url(empty_postgres)
    write_as_0001(engine)
    engine.dispose()
    with Workspace.open(tmp_path / "w", create=True, url=empty_postgres) as workspace:
        check_what_was_there(workspace)
