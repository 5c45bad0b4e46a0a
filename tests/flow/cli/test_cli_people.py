"""The commands about people: who judges where, invitations to all campaigns, letting in again, double names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from preflab.cli import run_command
from preflab.labelling.accounts import list_accounts, read_account
from preflab.labelling.audit import list_events
from preflab.labelling.campaigns import list_campaigns
from preflab.labelling.invites import use_invite
from preflab.labelling.tables import CAMPAIGNS
from preflab.store.database import writing
from preflab.store.workspace import Workspace

Captured = pytest.CaptureFixture[str]
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.jsonl").write_text(json.dumps({"prompt": "Where?", "completions": ["a", "b", "c"]}) + "\n")
    return tmp_path


def said(capsys: Captured, *words: str) -> dict[str, Any]:
    """What a command says as JSON; it has to go well."""
    capsys.readouterr()
    assert run_command([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: Captured, *words: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        run_command(words)
    assert leaving.value.code == 2
    return capsys.readouterr().err


def found_by(folder: Path, name: str) -> set[str]:
    """Names of the campaigns that somebody finds."""
    with Workspace.open(folder) as store:
        (who,) = [each for each in list_accounts(store) if each.name == name]
        return {view.campaign.name for view in list_campaigns(store, who.labeler_id)}


def test_people_are_added_and_removed(here: Path, capsys: Captured) -> None:
    for name in ("support", "second"):
        said(capsys, "campaign", "create", "c.jsonl", "--name", name)
    link = said(capsys, "campaign", "invite", "support")["link"]
    with Workspace.open(here) as store:
        use_invite(store, link.rpartition("/")[2], "Ann", PASSWORD)
    assert found_by(here, "Ann") == {"support"}
    assert said(capsys, "campaign", "add", "second", "ann")["num_new"] == 1
    assert found_by(here, "Ann") == {"support", "second"}
    listed = said(capsys, "campaign", "people", "second")
    assert listed["open_to"] == "invited"
    assert [(each["name"], each["judges"], each["place"]) for each in listed["people"]] == [("Ann", True, "in")]
    said(capsys, "campaign", "remove", "second", "Ann")
    assert found_by(here, "Ann") == {"support"}
    capsys.readouterr()
    run_command(["campaign", "people", "second"])
    assert "Ann   labeler  active  no, taken off" in capsys.readouterr().out
    assert "no account 'Bob'" in refused(capsys, "campaign", "add", "second", "Ann", "Bob")
    with Workspace.open(here) as store:
        done = [(event.actor, event.what) for event in list_events(store) if event.what.startswith("person ")]
    assert done == [
        ("command line", "person taken off"), ("command line", "person let in"), ("command line", "person let in"),
    ]  # fmt: skip


def test_an_account_is_made_for_one_campaign_or_for_all(here: Path, capsys: Captured) -> None:
    said(capsys, "campaign", "create", "c.jsonl", "--name", "first")
    said(capsys, "account", "add", "Ann", "--no-password", "--campaign", "first")
    said(capsys, "account", "add", "Bob", "--no-password")
    link = said(capsys, "campaign", "invite", "first", "--all-campaigns")["link"]
    with Workspace.open(here) as store:
        use_invite(store, link.rpartition("/")[2], "Cy", PASSWORD)
    said(capsys, "campaign", "create", "c.jsonl", "--name", "later")
    assert [found_by(here, name) for name in ("Ann", "Bob", "Cy")] == [
        {"first"},
        {"first", "later"},
        {"first", "later"},
    ]
    said(capsys, "campaign", "create", "c.jsonl", "--name", "for all", "--option", "open_to=everybody")
    assert found_by(here, "Ann") == {"first", "for all"}
    assert "there is no campaign" in refused(capsys, "account", "add", "Dee", "--no-password", "--campaign", "none")
    with Workspace.open(here) as store:
        assert len(list_accounts(store)) == 3


def test_what_to_do_next_goes_by_what_was_typed(here: Path, capsys: Captured) -> None:
    """A name may be double in a workspace of an older version: there the id was typed, and the id is printed."""
    made = said(capsys, "campaign", "create", "c.jsonl", "--name", "support")
    said(capsys, "account", "add", "Ann", "--no-password")
    for words in (["add", made["campaign_id"], "Ann"], ["remove", made["campaign_id"], "Ann"]):
        run_command(["campaign", *words])
        assert f"preflab campaign people {made['campaign_id']}" in capsys.readouterr().out
    run_command(["campaign", "options", made["campaign_id"]])
    assert f"preflab campaign options {made['campaign_id']} overlap=5" in capsys.readouterr().out


def test_a_refused_name_stores_nothing_of_the_file(here: Path, capsys: Captured) -> None:
    said(capsys, "campaign", "create", "c.jsonl", "--name", "support")
    (here / "d.jsonl").write_text('{"prompt": "Another", "completions": ["a", "b"]}\n', encoding="utf-8")
    with Workspace.open(here) as store:
        before = store.counts()
    assert "is taken" in refused(capsys, "campaign", "create", "d.jsonl", "--name", "Support")
    with Workspace.open(here) as store:
        assert store.counts() == before


def test_a_refused_file_leaves_no_workspace(here: Path, capsys: Captured) -> None:
    (here / "bad.jsonl").write_text('{"prompt": "Q", "completions": ["a", "b"], "x": 1e999}\n', encoding="utf-8")
    new = here / "new"
    assert "line 1" in refused(capsys, "campaign", "create", "bad.jsonl", "--name", "x", "--workspace", str(new))
    assert not new.exists()


def test_a_revoked_account_is_let_in_again(here: Path, capsys: Captured) -> None:
    said(capsys, "account", "add", "Lea", "--role", "lead", "--no-password")
    made = said(capsys, "account", "add", "Ann", "--no-password")
    said(capsys, "account", "revoke", "Ann")
    assert said(capsys, "account", "reinstate", "Ann")["state"] == "active"
    with Workspace.open(here) as store:
        assert read_account(store, made["account_id"]).state == "active"
    said(capsys, "account", "erase", "Ann")
    assert "erased" in refused(capsys, "account", "reinstate", made["account_id"])


def test_a_name_is_given_once_and_double_ones_of_old_go_by_their_ids(here: Path, capsys: Captured) -> None:
    first = said(capsys, "campaign", "create", "c.jsonl", "--name", "support")["campaign_id"]
    error = refused(capsys, "campaign", "create", "c.jsonl", "--name", "Support")
    assert f"taken by the campaign 'support', id {first}" in error
    second = said(capsys, "campaign", "create", "c.jsonl", "--name", "other")["campaign_id"]
    assert first in refused(capsys, "campaign", "options", "other", "name=support")
    with Workspace.open(here) as store, writing(store.engine) as connection:
        connection.execute(update(CAMPAIGNS).values(name="support"))  # as an older preflab has let it be
    error = refused(capsys, "campaign", "invite", "support")
    assert "2 campaigns are called 'support'" in error
    assert first in error
    assert second in error
    shown = said(capsys, "campaign", "show", second)
    assert shown["next"] == f"`preflab campaign invite {second}`"
    assert said(capsys, "campaign", "invite", second)["campaign_ids"] == [second]
    assert "campaign-" in said(capsys, "campaign", "list")["next"]
