"""Who may see and do what, tried on every address the app has: a new page is tested without a new test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app_routes import filled, routes
from preflab.labelling.accounts import create_account, list_accounts
from preflab.labelling.adjudication import decide
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import list_campaigns
from preflab.labelling.invites import create_invite, list_invites
from preflab.labelling.members import people_of
from preflab.labelling.submissions import Submission, submit
from preflab.records import RankingAnswer
from preflab.store.workspace import Workspace
from web_app import GOLD, MODELS, People, client, make_campaign, script, simple_texts

OPEN_TO_ALL = {
    "/signin", "/signout", "/invite/{token}", "/static/{version}/{name}", "/favicon.ico", "/healthz", "/api/docs",
    "/api/v1/openapi.json",
}  # fmt: skip
TO_SIGN_IN = (303, 401)
COST = 7.30591
"""Of an hour. Times have three decimals and ids no point, so that only the cost can stand so in a reply."""
SHORTEST = 6
"""Characters of a word that must not be seen: a shorter one could stand in a random token by chance."""


@pytest.fixture
def known(ws: Workspace, people: People) -> dict[str, list[str]]:
    """Every id there is, by the name that addresses give it."""
    open_one = make_campaign(ws, simple_texts(3), gold={0: GOLD}, hourly_cost=COST, gold_share=0.5)
    closed_one = make_campaign(ws, simple_texts(2), name="Only for Ben", labelers=(people.ben.labeler_id,))
    robot = create_account(ws, "Hal Robot", "ai")
    for number, (labeler, campaign) in enumerate([(people.ben, open_one), (people.ben, closed_one), (robot, open_one)]):
        while (found := next_turn(ws, campaign.id, labeler.labeler_id)) is not None:
            note = f"private note of {labeler.name}"
            submit(
                ws,
                Submission(
                    key=f"{number} {found.task.id}", task_id=found.task.id, labeler_id=labeler.labeler_id, based_on=0,
                    answer=RankingAnswer((3, 1, 2)), active_ms=9000, shown_ms=9000, note=note, flagged=False,
                    guideline_version=1,
                ),
            )  # fmt: skip
    tasks = [task.id for campaign in (open_one, closed_one) for task in ws.tasks(campaign_id=campaign.id)]
    decide(ws, tasks[0], people.lead, RankingAnswer((1, 2, 3)), "private note of the lead")
    next_turn(ws, open_one.id, people.anna.labeler_id)
    invite, _ = create_invite(ws, "labeler", by=people.lead.id)
    return {
        "campaign_id": [open_one.id, closed_one.id, "nothing"],
        "task_id": [*tasks, "nothing"],
        "labeler_id": [people.ben.labeler_id, people.anna.labeler_id, robot.labeler_id],
        "account_id": [people.ben.id, people.lead.id],
        "judgment_id": [judgment.id for judgment in ws.judgments()][:2],
        "invite_id": [invite.id],
        "name": ["preflab.db", "x.png"],
    }


def secrets_of_others(ws: Workspace, people: People) -> list[str]:
    """Words that must not reach a labeler who has answered nothing."""
    ids = [completion.id for completion in ws.completions()]
    ben, lead = people.ben, people.lead
    others = [ben.labeler_id, ben.id, lead.id, lead.email, ben.name, lead.name, "Hal Robot"]
    judged = [judgment.id for judgment in ws.judgments()]
    words = ["private note", "Only for Ben", str(COST), "is_gold", '"gold"', "gold_share"]
    return [*MODELS, *ids, *others, *judged, *words]


def test_every_address_asks_who_one_is(ws: Workspace, known: dict[str, list[str]]) -> None:
    stranger = client(ws)
    wrong = []
    for route in routes(ws):
        if route.path in OPEN_TO_ALL or route.path == "/":
            continue
        for method in route.methods:
            for path in filled(route.path, known)[:2]:
                reply = stranger.request(method, path)
                if reply.status_code not in TO_SIGN_IN:
                    wrong.append((method, path, reply.status_code))
    assert not wrong
    assert stranger.get("/").headers["location"] == "/signin"


def test_a_labeler_sees_nothing_of_others_by_any_address(
    ws: Workspace, people: People, known: dict[str, list[str]]
) -> None:
    forbidden = secrets_of_others(ws, people)
    assert min(map(len, forbidden)) >= SHORTEST
    wrong, num_seen = [], 0
    for browser in (client(ws, people.anna), script(ws, people.anna)):
        for route in routes(ws):
            if "GET" not in route.methods or route.path == "/api/v1/openapi.json":  # a description, the same for all
                continue
            for path in filled(route.path, known):
                reply = browser.get(path)
                num_seen += reply.status_code == 200
                wrong += [(path, reply.status_code)] if reply.status_code >= 500 else []
                wrong += [(path, word) for word in forbidden if word in reply.text]
                wrong += [(path, name) for name in ("x-model", "x-gold") if name in reply.headers]
    assert not wrong
    assert num_seen > 10


def test_a_lead_sees_what_is_hidden_from_labelers(ws: Workspace, people: People, known: dict[str, list[str]]) -> None:
    page = client(ws, people.lead).get(f"/lead/c/{known['campaign_id'][0]}/settings").text
    assert str(COST) in page
    assert people.ben.name in page


def test_another_labeler_s_task_is_as_good_as_none(ws: Workspace, people: People, known: dict[str, list[str]]) -> None:
    robot = script(ws, people.anna)
    mine = robot.get(f"/api/v1/campaigns/{known['campaign_id'][0]}/next").json()["turn"]["task_id"]
    for task_id in known["task_id"]:
        reply = robot.get(f"/api/v1/tasks/{task_id}")
        assert reply.status_code == (200 if task_id == mine else 404)
        body = {"key": f"forged {task_id}", "answer": {"ranks": [1, 2, 3]}}
        if task_id != mine:
            assert robot.post(f"/api/v1/tasks/{task_id}/judgments", json=body).status_code == 404
            assert robot.put(f"/api/v1/tasks/{task_id}/draft", json={"draft": {}}).status_code == 404
            assert robot.post(f"/api/v1/tasks/{task_id}/skip", json={"reason": "x"}).status_code == 404
    assert robot.get(f"/api/v1/campaigns/{known['campaign_id'][1]}").status_code == 404
    assert not [each for each in ws.judgments(all_revisions=True) if each.labeler_id == people.anna.labeler_id]


def test_leads_doors_are_closed_to_others(ws: Workspace, people: People, known: dict[str, list[str]]) -> None:
    before = state(ws)
    for account, own in ((people.anna, ()), (people.adjudicator, ("/adjudicate", "/disagreements"))):
        for browser in (client(ws, account), script(ws, account)):
            wrong = [
                (account.role, method, path, status)
                for method, path, status in tried_as(browser, ws, known)
                if status != 403 and not any(part in path for part in own)
            ]
            assert not wrong
    assert state(ws) == before
    assert len(before) > 3000  # people and who judges where are in it


def tried_as(browser: TestClient, ws: Workspace, known: dict[str, list[str]]) -> Iterator[tuple[str, str, int]]:
    """Every address of leads, every method, with an empty body."""
    for route in routes(ws):
        for method in route.methods:
            lead_only = route.path.startswith("/lead") or "leads" in route.tags or route.path == "/api/v1/invites"
            for path in filled(route.path, known)[:3] if lead_only else ():
                yield method, path, browser.request(method, path).status_code


def state(ws: Workspace) -> str:
    """Everything there is, as one text."""
    views = list_campaigns(ws)
    people = [
        *list_accounts(ws),
        *list_invites(ws),
        *(each for view in views for each in people_of(ws, view.campaign.id)),
    ]
    records: list[Any] = [ws.counts(), *ws.campaigns(), *ws.tasks(), *ws.labelers(), *views, *people]
    return json.dumps([str(record) for record in records])


def test_a_lead_is_let_in_everywhere(ws: Workspace, people: People, known: dict[str, list[str]]) -> None:
    browser = client(ws, people.lead)
    codes = {
        path: browser.get(path).status_code
        for route in routes(ws)
        if "GET" in route.methods and (route.path.startswith("/lead") or "leads" in route.tags)
        for path in filled(route.path, {name: values[:1] for name, values in known.items()})
    }
    nothing_yet = {path for path in codes if path.startswith("/api/") and path.endswith("/export")}
    assert len(codes) > 10
    assert {code for path, code in codes.items() if path not in nothing_yet} <= {200, 303}, codes
    assert {codes[path] for path in nothing_yet} <= {200, 422}  # one label may decide nothing, and that is said


def test_the_workspace_s_files_are_not_served(ws: Workspace, people: People) -> None:
    browser = client(ws, people.lead)
    for path in (
        "/image/preflab.db", "/image/..%2fpreflab.db", "/static/..%2f..%2fpreflab.db", "/preflab.db",
        "/images/preflab.db", "/static/app.py", "/image/%2e%2e/preflab.db",
    ):  # fmt: skip
        assert browser.get(path).status_code == 404, path
