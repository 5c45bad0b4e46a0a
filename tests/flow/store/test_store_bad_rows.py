"""A backup whose rows the app could not work with is refused, and one bad campaign leaves the others alone."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from labelling_world import make_campaign, put_labelers
from preflab.errors import PreflabError
from preflab.labelling.accounts import create_account
from preflab.labelling.campaigns import _warn_of, campaign_view, create_campaign, list_campaigns, unreadable_campaigns
from preflab.labelling.errors import Invalid
from preflab.labelling.members import let_in
from preflab.labelling.options import CampaignOptions
from preflab.labelling.row_checks import wrong_row
from preflab.store.restore import check_first, restore
from preflab.store.workspace import DATABASE, Workspace


def with_option(**changed: Any) -> str:
    """A statement that changes options of the second campaign behind the app's back."""
    settings = json.dumps(CampaignOptions(name="second").model_dump(mode="json") | changed)
    return f"UPDATE campaign_states SET settings = '{settings}' WHERE campaign_id = 'second'"


OPTIONS: dict[str, tuple[str, str]] = {
    "a list": ("UPDATE campaign_states SET settings = '[]' WHERE campaign_id = 'second'", "settings"),
    "a text": ("UPDATE campaign_states SET settings = '\"x\"' WHERE campaign_id = 'second'", "settings"),
    "a number": ("UPDATE campaign_states SET settings = '5' WHERE campaign_id = 'second'", "settings"),
    "no lease": (with_option(lease_minutes=0), "lease_minutes"),
    "an unknown option": (with_option(surprise=1), "surprise"),
    "a long question": (with_option(question="?" * 2001), "question"),
    "no name": (with_option(name=""), "name"),
    "half a label": (with_option(overlap=2.5), "overlap"),
    "open to foo": (with_option(open_to="foo"), "open_to"),
    "a criterion of nobody": (with_option(criterion="x"), "criterion"),
    "a state": ("UPDATE campaign_states SET state = 'foo' WHERE campaign_id = 'second'", "state"),
    "a counter": ("UPDATE campaign_states SET num_tasks = 'abc' WHERE campaign_id = 'second'", "num_tasks"),
    "criteria": ("UPDATE campaigns SET criteria = '5' WHERE id = 'second'", "criteria|record"),
}
ROWS = OPTIONS | {
    "a role": ("UPDATE accounts SET role = 'emperor'", "row account-.*, role: 'emperor'"),
    "a place": ("UPDATE members SET place = 'foo'", "place"),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The backup of a workspace with two campaigns."""
    with Workspace.open(tmp_path / "w", create=True) as ws:
        make_campaign(ws, 1, name="first")
        make_second(ws)
        ws.backup(tmp_path / "saved.db")
    return tmp_path / "saved.db"


def make_second(ws: Workspace) -> None:
    create_campaign(ws, CampaignOptions(name="second"), [], campaign_id="second")
    create_account(ws, "Lea", "lead")
    let_in(ws, "second", put_labelers(ws, 1))


def spoil(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("name", ROWS)
def test_a_backup_with_a_bad_row_is_refused_by_its_field(saved: Path, tmp_path: Path, name: str) -> None:
    statement, field = ROWS[name]
    spoil(saved, statement)
    before = (tmp_path / "w" / DATABASE).read_bytes()
    with pytest.raises(PreflabError, match=field) as refused:
        restore(saved, tmp_path / "w", wrong_row)
    assert refused.value.found.startswith(f"{saved}: ")
    assert any(table in refused.value.found for table in ("campaign_states", "campaigns", "accounts", "members"))
    assert (tmp_path / "w" / DATABASE).read_bytes() == before
    with pytest.raises(PreflabError, match=field):
        check_first(saved, wrong_row)


def test_a_backup_with_a_number_that_an_older_version_let_in_comes_back(saved: Path, tmp_path: Path) -> None:
    spoil(saved, with_option(lease_minutes=4e9))
    restore(saved, tmp_path / "w", wrong_row)
    with Workspace.open(tmp_path / "w") as ws:
        assert campaign_view(ws, "second").options.lease_minutes == 7 * 24 * 60


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bad_campaign_leaves_the_others_alone(
    tmp_path: Path, name: str, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    statement, field = OPTIONS[name]
    spoil(tmp_path / "w" / DATABASE, statement)
    _warn_of.cache_clear()
    with Workspace.open(tmp_path / "w") as ws, caplog.at_level(logging.WARNING):
        assert [view.campaign.name for view in list_campaigns(ws)] == ["first"]
        list_campaigns(ws)
        (bad,) = unreadable_campaigns(ws)
        assert (bad.campaign_id, bad.name) == ("second", "second")
        with pytest.raises(Invalid, match=field):
            campaign_view(ws, "second")
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "preflab.labelling"]
    assert "second" in warning
    assert bad.found in warning
