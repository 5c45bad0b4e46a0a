"""A campaign whose row holds nonsense is named to the lead, and keeps nobody from the other campaigns."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import update

from preflab.labelling.tables import CAMPAIGN_STATES
from preflab.store.database import writing
from preflab.store.workspace import Workspace
from web_app import People, client, make_campaign, script, simple_texts


def said(reply: Any) -> str:
    """The text of a page without its tags."""
    return " ".join(re.sub(r"<[^>]+>", "", reply.text).split())


@pytest.mark.parametrize(
    ("values", "field"),
    [({"settings": []}, "settings"), ({"settings": "x"}, "settings"), ({"state": "foo"}, "state: 'foo'")],
)
def test_one_bad_campaign_takes_no_page_down(ws: Workspace, people: People, values: Any, field: str) -> None:
    make_campaign(ws, simple_texts(1), name="Whole")
    bad = make_campaign(ws, simple_texts(2), name="Broken")
    with writing(ws.engine) as connection:
        connection.execute(update(CAMPAIGN_STATES).where(CAMPAIGN_STATES.c.campaign_id == bad.id).values(**values))
    lead, anna = client(ws, people.lead), client(ws, people.anna)
    text = said(lead.get("/lead"))
    assert "Whole" in text
    assert f"(id {bad.id}) cannot be read" in text
    assert field in text.replace("&#39;", "'")
    for page in ("/lead/people", "/lead/audit", "/lead/new"):
        assert lead.get(page).status_code == 200, page
    home = anna.get("/", follow_redirects=True)
    assert home.status_code == 200
    assert "Broken" not in home.text
    mine = script(ws, people.anna).get("/api/v1/campaigns")
    assert [each["name"] for each in mine.json()] == ["Whole"]
    for answer in (lead.get(f"/lead/c/{bad.id}"), script(ws, people.lead).get(f"/api/v1/campaigns/{bad.id}/summary")):
        assert answer.status_code == 422
    assert anna.get(f"/c/{bad.id}").status_code == 422
