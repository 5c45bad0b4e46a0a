"""Bodies of the API: a switch is no number, and an error names its field."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.store.workspace import Workspace
from web_app import People, make_campaign, script, simple_texts


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("invites", {"hours": True}, "hours"),
        ("invites", {"hours": 0.001}, "hours"),
        ("invites", {"hours": "nan"}, "hours: Input should be a finite number"),
        ("tasks/t/judgments", {"answer": {}, "based_on": True}, "based_on: True, expected a number"),
        ("tasks/t/judgments", {"answer": {}, "active_ms": False}, "active_ms"),
    ],
)
def test_a_number_of_a_body_is_a_number(ws: Workspace, people: People, path: str, body: Any, field: str) -> None:
    answer = script(ws, people.lead).post(f"/api/v1/{path}", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["found"].startswith(field)


@pytest.mark.parametrize("wrong", [{"overlap": True}, {"criteria": ["a", "a"]}, {"confirmed_reversed": ["nobody"]}])
def test_a_wrong_change_names_its_option(ws: Workspace, people: People, wrong: dict[str, Any]) -> None:
    campaign = make_campaign(ws, simple_texts(1))
    changed = script(ws, people.lead).patch(f"/api/v1/campaigns/{campaign.id}", json={"revision": 1, "changes": wrong})
    assert changed.status_code == 422
    (name,) = wrong
    assert changed.json()["error"]["found"].startswith(f"{name}: ")
