"""A workspace of an older version is backed up and brought up to date with everything that was in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import JSON, Connection, Engine, column, insert, table, update

from labelling_world import new_database
from preflab.errors import PreflabError
from preflab.labelling.accounts import list_accounts, read_account
from preflab.labelling.campaigns import campaign_view, change_options, list_campaigns
from preflab.labelling.invites import list_invites
from preflab.labelling.options import CampaignOptions
from preflab.records import Campaign, Completion, Judgment, Labeler, Prompt, RankingAnswer, Task
from preflab.store import migrate
from preflab.store.database import engine_of_url, reading, sqlite_engine, switch_to_wal, writing
from preflab.store.rows import BY_RECORD
from preflab.store.schema import SCHEMA_VERSION, JudgmentRow
from preflab.store.workspace import DATABASE, Workspace
from preflab.web.access import may_adjudicate

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


def upgrade_to(connection: Connection, version: str) -> None:
    """The tables of an older version."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def write_as_0001(engine: Engine) -> None:
    """The tables of version 0001 and the records in them, without the columns that came later."""
    with writing(engine) as connection:
        upgrade_to(connection, "0001")
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
    return new_database(postgres_url)


def test_the_same_on_postgresql(tmp_path: Path, empty_postgres: str) -> None:
    engine = engine_of_url(empty_postgres)
    write_as_0001(engine)
    engine.dispose()
    with Workspace.open(tmp_path / "w", create=True, url=empty_postgres) as workspace:
        check_what_was_there(workspace)


NAMED = {"open": [], "named": ["everywhere", "one", "chosen"], "third": []}
"""Campaign → the labelers that its options named; none: all."""
LISTS = {
    "everywhere": [],
    "one": ["named", "open"],
    "chosen": ["third"],
    "adjudicator": ["named"],
    "lead": [],
    "off": ["named"],
}
"""Account → the campaigns that its invitation named; none: all."""


def write_as_0002(engine: Engine) -> None:
    """Campaigns and accounts with the lists that version 0002 kept of one another, and two invitations."""
    states = table(
        "campaign_states", *map(column, ("campaign_id", "state", "revision", "num_tasks", "num_done", "num_labels")),
        column("settings", JSON), column("created_at"),
    )  # fmt: skip
    people = table(
        "accounts", *map(column, ("id", "labeler_id", "name", "name_key", "email", "role", "state", "created_at")),
        column("campaign_ids", JSON),
    )  # fmt: skip
    links = table(
        "invites", *map(column, ("token_hash", "id", "role", "created_by", "created_at", "expires_at")),
        column("campaign_ids", JSON),
    )  # fmt: skip
    with writing(engine) as connection:
        upgrade_to(connection, "0002")
        for name, labelers in NAMED.items():
            row = BY_RECORD[Campaign].to_row(Campaign(name, name, "ranking"))
            connection.execute(insert(BY_RECORD[Campaign].table).values(row))
            settings = CampaignOptions(name=name, overlap=5).model_dump(mode="json", exclude={"open_to"})
            zeros = dict.fromkeys(("num_tasks", "num_done", "num_labels"), 0) | {"state": "open", "revision": 7}
            values = {"campaign_id": name, "settings": settings | {"labelers": labelers}, "created_at": AT}
            connection.execute(insert(states).values(**zeros, **values))
        for name, campaign_ids in LISTS.items():
            labeler = BY_RECORD[Labeler].to_row(Labeler(name, f"labeler {name}", "person"))
            connection.execute(insert(BY_RECORD[Labeler].table).values(labeler))
            role = name if name in ("lead", "adjudicator") else "labeler"
            names = {"id": f"account-{name}", "labeler_id": name, "name": name, "name_key": name, "email": ""}
            values = {"role": role, "state": "active", "created_at": AT, "campaign_ids": campaign_ids}
            connection.execute(insert(people).values(**names, **values))
        for number, campaign_ids in enumerate(([], ["third"])):
            values = {"token_hash": f"{number}", "id": f"invite-{number}", "role": "labeler", "created_by": ""}
            times = {"created_at": AT, "expires_at": AT.replace("2026", "2999")}
            connection.execute(insert(links).values(**values, **times, campaign_ids=campaign_ids))


AT = "2026-11-20T12:00:00.000Z"


def check_who_judges_where(workspace: Workspace) -> None:
    """Every account finds what it found before, and settles where it did; the one choice that had no effect has one."""
    assert {each.labeler_id for each in list_accounts(workspace)} == set(LISTS)
    for name, own in LISTS.items():
        found = {view.campaign.id for view in list_campaigns(workspace, name)}
        before = {c for c, chosen in NAMED.items() if (not chosen or name in chosen) and (not own or c in own)}
        assert found == before | ({"named"} if name == "chosen" else set()), name
        me = read_account(workspace, f"account-{name}")
        settles = {view.campaign.id for view in list_campaigns(workspace) if may_adjudicate(workspace, me, view)}
        if name == "adjudicator":
            assert (found, settles) == (set(), {"named"})
        if name == "lead":
            assert settles == set(NAMED)
    view = campaign_view(workspace, "named")
    assert (view.options.open_to, view.options.overlap, view.revision) == ("named", 5, 7)
    assert campaign_view(workspace, "open").options.open_to == "invited"
    assert change_options(workspace, "named", 7, {"overlap": 4}).overlap == 4
    assert {each.id: each.campaign_ids for each in list_invites(workspace)} == {"invite-0": (), "invite-1": ("third",)}


def test_a_workspace_of_version_0002_keeps_who_judges_where(tmp_path: Path) -> None:
    file = tmp_path / DATABASE
    switch_to_wal(file)
    engine = sqlite_engine(file)
    write_as_0002(engine)
    engine.dispose()
    with Workspace.open(tmp_path) as workspace:
        check_who_judges_where(workspace)
    with closing(sqlite3.connect(tmp_path / f"{DATABASE}.0002.bak")) as saved:
        assert saved.execute("SELECT count(*) FROM accounts WHERE campaign_ids != '[]'").fetchone() == (4,)


def test_a_workspace_of_version_0002_keeps_it_on_postgresql(tmp_path: Path, empty_postgres: str) -> None:
    engine = engine_of_url(empty_postgres)
    write_as_0002(engine)
    engine.dispose()
    with Workspace.open(tmp_path / "w", create=True, url=empty_postgres) as workspace:
        check_who_judges_where(workspace)
