"""What no database can hold is refused at every door, by the name of its field, and locks nobody out."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import cycle
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from labelling_world import new_database
from preflab.labelling.campaigns import read_guideline
from preflab.labelling.tables import CAMPAIGN_STATES, TURNS
from preflab.records import Campaign
from preflab.store.database import writing
from preflab.store.workspace import Workspace
from preflab.web.app import create_app
from web_app import People, client, make_campaign, make_people, script, simple_texts


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


HOSTILE = {
    "2^63": str(2**63), "minus 2^63": str(-(2**63) - 1), "NaN": "NaN", "infinity": "-Infinity", "1e999": "1e999",
    "5,000 digits": "9" * 5000, "half a character": '"\\ud83d"', "the other half": '"a\\udc00b"', "NUL": '"a\\u0000b"',
    "300 levels": "[" * 300 + "]" * 300, "300 objects": '{"a":' * 300 + "1" + "}" * 300,
}  # fmt: skip
"""A JSON value's text; none of them may be stored, whatever the field."""
ODD = {
    "minus one": "-1",
    "1e308": "1e308",
    "null": "null",
    "a list": "[]",
    "an object": "{}",
    "a text": '"x"',
    "": '""',
}
"""May suit a field or not; never an error of the server's."""
PLACE = "\u2603"


@pytest.fixture
def campaign(ws: Workspace, people: People) -> Campaign:
    made = make_campaign(ws, simple_texts(3), overlap=1)
    for each in (people.anna, people.ben):
        read_guideline(ws, made.id, each.labeler_id, 1)
    return made


def bodies(campaign: Campaign, task_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every address that takes JSON, with a body that it takes."""
    row = {"prompt": "P?", "completions": ["a", "b"], "models": ["m", "n"], "tools": [{"name": "t"}]}
    options = {
        "name": "c", "question": "q", "polarity": 1, "way": "likert", "criteria": ["kind"],
        "scale_ends": {"kind": ["a", "b"]}, "content": "plain", "overlap": 2, "ask_note": False, "allow_fail": True,
        "max_tie_rate_nudge": 0.5, "lease_minutes": 30, "order": "nearest_done", "open_to": "everybody",
        "count_ai": False,
        "gold_share": 0.1, "hourly_cost": 1.5, "currency": "EUR", "confirmed_reversed": ["l"],
    }  # fmt: skip
    own, at = f"/api/v1/campaigns/{campaign.id}", f"/api/v1/tasks/{task_id}"
    answer = {"ranks": [1, 2, 3]}
    judgment = {
        "key": "k", "based_on": 0, "answer": answer, "active_ms": 1, "shown_ms": 1, "note": "n", "flagged": False,
        "guideline_version": 1,
    }  # fmt: skip
    return [
        ("PUT", f"{at}/draft", {"draft": {"fields": {"note": "x"}, "active_ms": 5}, "based_on": 0}),
        ("POST", f"{at}/judgments", judgment),
        ("POST", f"{at}/skip", {"reason": "r"}),
        ("POST", f"{own}/instructions/read", {"version": 1}),
        ("POST", "/api/v1/campaigns", {"options": options, "rows": [row], "instructions": "i",
                                       "gold": {"0": {"scores": {"kind": [1, 2]}}}}),
        ("POST", "/api/v1/campaigns", {"options": options, "groups": [["c"]]}),
        ("PATCH", own, {"revision": 1, "changes": options}),
        ("PUT", f"{own}/state", {"state": "open"}),
        ("POST", f"{own}/instructions", {"text": "t"}),
        ("PUT", "/api/v1/accounts/nobody/reach", {"everywhere": True}),
        ("POST", "/api/v1/invites", {"role": "labeler", "campaign_ids": [campaign.id], "hours": 5}),
    ]  # fmt: skip


def with_place(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value within a body, replaced by a mark, one at a time."""
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        changed = copy.deepcopy(value)
        changed[key] = PLACE
        yield (*path, key), changed
        if isinstance(each, dict | list):
            for inner_path, inner in with_place(each, (*path, key)):
                changed = copy.deepcopy(value)
                changed[key] = inner
                yield inner_path, changed


def sent(app: TestClient, method: str, path: str, body: Any, text: str) -> Any:
    content = json.dumps(body, ensure_ascii=False).replace(f'"{PLACE}"', text).encode()
    return app.request(method, path, content=content, headers={"Content-Type": "application/json"})


def tried(ws: Workspace, people: People, campaign: Campaign, *, all_values: bool) -> list[Any]:
    """What was answered otherwise than it should be; every value in every field, or one of them in turn."""
    values = {**HOSTILE, **ODD}
    turns = cycle(values)
    lead, anna = script(ws, people.lead), script(ws, people.anna)
    task_id = anna.get(f"/api/v1/campaigns/{campaign.id}/next").json()["turn"]["task_id"]
    wrong, known = [], bodies(campaign, task_id)
    for method, path, body in known:
        app = anna if "/tasks/" in path or path.endswith("/read") else lead
        for place, changed in with_place(body):
            for name in values if all_values else [next(turns)]:
                reply = sent(app, method, path, changed, values[name])
                said = reply.json().get("error", {}).get("found", "") if reply.status_code >= 400 else ""
                is_right = 400 <= reply.status_code < 500 if name in HOSTILE else reply.status_code < 500
                named = name in ODD or reply.status_code != 422 or str(place[0]) in said
                if not (is_right and named):
                    wrong.append((method, path, place, name, reply.status_code, said))
                assert len(reply.content) < 100_000
    covered = {(method, re.sub(f"{campaign.id}|{task_id}|nobody", "*", path)) for method, path, _ in known}
    assert covered == {(m, re.sub(r"\{\w+\}", "*", p)) for m, p in takes_json(ws)}, "a new address wants its body above"
    return wrong


def takes_json(ws: Workspace) -> list[tuple[str, str]]:
    """Every address of the API that takes a body."""
    paths = create_app(ws).openapi()["paths"]
    return [
        (method.upper(), path) for path, each in paths.items() for method, it in each.items() if "requestBody" in it
    ]


def test_fields_of_the_api(ws: Workspace, people: People, campaign: Campaign) -> None:
    assert tried(ws, people, campaign, all_values=False) == []


@pytest.mark.slow
def test_every_field_of_the_api(ws: Workspace, people: People, campaign: Campaign) -> None:
    assert tried(ws, people, campaign, all_values=True) == []
    assert_goes_on(ws, people, campaign)


@pytest.mark.slow
def test_every_field_of_the_api_on_postgresql(postgres_url: str, tmp_path: Any) -> None:
    with Workspace.open(tmp_path / "w", create=True, url=new_database(postgres_url)) as ws:
        people = make_people(ws)
        campaign = make_campaign(ws, simple_texts(3), overlap=1)
        for each in (people.anna, people.ben):
            read_guideline(ws, campaign.id, each.labeler_id, 1)
        assert tried(ws, people, campaign, all_values=True) == []
        assert_goes_on(ws, people, campaign)


def assert_goes_on(ws: Workspace, people: People, campaign: Campaign) -> None:
    """Who was there before can go on working."""
    for account in (people.anna, people.ben):
        assert script(ws, account).get(f"/api/v1/campaigns/{campaign.id}/next").status_code == 200
        assert client(ws, account).get(f"/c/{campaign.id}").status_code in (200, 303)  # instructions that are new
    assert client(ws, people.lead).get(f"/lead/c/{campaign.id}").status_code == 200


WHOLE_BODIES = {
    "nested beyond Python": b"[" * 100_000,
    "not UTF-8": b'{"reason": "\xff"}',
    "a surrogate in bytes": b'{"reason": "\xed\xa0\x80"}',
    "UTF-16": '{"reason": "x"}'.encode("utf-16"),
    "NUL alone": b"\0",
    "half an object": b'{"reason": ',
    "a long number": b'{"reason": ' + b"1" * 1_000_000 + b"}",
}


@pytest.mark.parametrize("name", WHOLE_BODIES)
@pytest.mark.parametrize("kind", ["application/json", "application/problem+json", "Application/JSON; charset=utf-16"])
def test_bodies_that_are_no_json(ws: Workspace, people: People, campaign: Campaign, name: str, kind: str) -> None:
    anna = script(ws, people.anna)
    task_id = anna.get(f"/api/v1/campaigns/{campaign.id}/next").json()["turn"]["task_id"]
    reply = anna.post(f"/api/v1/tasks/{task_id}/skip", content=WHOLE_BODIES[name], headers={"Content-Type": kind})
    assert reply.status_code == 422
    assert set(reply.json()["error"]) == {"found", "expected", "do", "kind"}


@pytest.mark.parametrize("query", ["next=%00", "next=%ED%A0%80", "next=%FF", "%00=1", "said=a%C3"])
@pytest.mark.parametrize("path", ["/signin", "/lead", "/api/v1/me"])
def test_queries_that_are_no_text(ws: Workspace, people: People, path: str, query: str) -> None:
    reply = client(ws, people.lead).get(f"{path}?{query}", headers={"Accept": "application/json"})
    assert reply.status_code == 422
    assert reply.json()["error"]["found"].startswith(("next: ", "said: ", "\0: "))


@pytest.mark.parametrize("path", ["/c/%00", "/invite/a%00b", "/api/v1/campaigns/%ED%A0%80", "/lead/c/%FF/people"])
def test_addresses_that_are_no_text(ws: Workspace, people: People, path: str) -> None:
    assert client(ws, people.lead).get(path).status_code == 422


class Forms(HTMLParser):
    """The forms of a page: where each is sent, its kind, and its fields with what stands in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("method", "").lower() == "post":
            self.found.append((given.get("action", ""), given.get("enctype", ""), {}))
        named = tag in ("input", "select", "textarea", "button") and self.found and given.get("name")
        if named and (given.get("type") not in ("file", "radio") or "checked" in given):
            self.found[-1][2].setdefault(given["name"], given.get("value", "1"))


PAGES = ("/me", "/lead/new", "/lead/people", "/lead", "/lead/c/*", "/lead/c/*/settings", "/c/*", "/c/*/instructions")
IN_FORMS = {"half": b"%ED%A0%BD", "nul": b"a%00b", "no text": b"%FF", "2^63": str(2**63).encode(), "minus": b"-1",
            "nan": b"nan", "infinity": b"inf", "1e308": b"1e308", "5,000 digits": b"9" * 5000}  # fmt: skip


def forms(ws: Workspace, people: People, campaign: Campaign) -> Iterator[tuple[TestClient, str, dict[str, str]]]:
    """Every form of the pages, and of the sign-in page."""
    lead, anna, nobody = client(ws, people.lead), client(ws, people.anna), client(ws)
    for path in PAGES:
        app = anna if path.startswith("/c/") else lead
        address = path.replace("*", campaign.id)
        for action, _, fields in Forms(app.get(address).text).found:
            yield app, action or address, fields
    yield nobody, "/signin", {"name": "x", "password": "y", "next": "/"}


def test_every_field_of_every_form(ws: Workspace, people: People, campaign: Campaign) -> None:
    wrong, num = [], 0
    for app, action, fields in forms(ws, people, campaign):
        if action == "/signout":
            continue
        for name in fields:
            for what, value in IN_FORMS.items():
                rest = "".join(f"&{other}={text}" for other, text in fields.items() if other != name)
                body = name.encode() + b"=" + value + rest.replace(" ", "+").encode("ascii", "ignore")
                kind = {"Content-Type": "application/x-www-form-urlencoded"}
                status = app.post(action, content=body, headers=kind).status_code
                num += 1
                if status >= 500 or (what in ("half", "nul", "no text") and status < 400):
                    wrong.append((action, name, what, status))
    assert wrong == []
    assert num > 200
    # The forms have changed who may judge and what they read first; nothing of it may be an error of the server's.
    for account in (people.anna, people.ben):
        assert client(ws, account).get(f"/c/{campaign.id}").status_code in (200, 303, 404)
    assert client(ws, people.lead).get(f"/lead/c/{campaign.id}").status_code == 200


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "unicode_escape", "undefined", "idna", "latin-1"])
@pytest.mark.parametrize("knows", [True, False], ids=["lead", "stranger"])
def test_multipart_forms_in_other_encodings(ws: Workspace, people: People, charset: str, knows: bool) -> None:
    """Python knows encodings that give halves of characters, and some that raise what nobody expects."""
    app = client(ws, people.lead if knows else None)
    body = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n+2AA- \\ud800\r\n--x--\r\n'
    kind = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    for path in ("/lead/new", "/signin", "/me/tokens"):
        assert 400 <= app.post(path, content=body, headers=kind).status_code < 500


@pytest.mark.parametrize(
    "body", [b"", b"--x", b"nothing", b"--x\r\n\r\n\r\n--x--", b"--x\r\nContent-Disposition: form-data\r\n\r\n--x--"]
)
def test_multipart_forms_that_are_none(ws: Workspace, people: People, body: bytes) -> None:
    for app in (client(ws, people.lead), client(ws)):
        for path in ("/lead/new", "/signin", "/me/tokens"):
            for kind in ("multipart/form-data; boundary=x", "multipart/form-data", "multipart/form-data; boundary="):
                assert app.post(path, content=body, headers={"Content-Type": kind}).status_code < 500


@pytest.mark.parametrize("levels", [256, 900])
def test_a_deep_draft_of_an_older_version_locks_nobody_out(
    ws: Workspace, people: People, campaign: Campaign, levels: int
) -> None:
    anna, browser = script(ws, people.anna), client(ws, people.anna)
    task_id = anna.get(f"/api/v1/campaigns/{campaign.id}/next").json()["turn"]["task_id"]
    with writing(ws.engine) as connection:
        draft = {"fields": {}, "x": nested(levels)}
        values = {"draft": draft, "draft_saved_at": "2026-01-01T00:00:00.000Z"}
        connection.execute(update(TURNS).where(TURNS.c.task_id == task_id).values(**values))
    turn = anna.get(f"/api/v1/campaigns/{campaign.id}/next").json()["turn"]
    assert (turn["task_id"], turn["draft"], turn["draft_unreadable"]) == (task_id, None, True)
    page = browser.get(f"/c/{campaign.id}")
    assert page.status_code == 200
    assert "A draft of yours could not be read" in page.text
    assert anna.put(f"/api/v1/tasks/{task_id}/draft", json={"draft": {"fields": {}}}).status_code == 204
    turn = anna.get(f"/api/v1/tasks/{task_id}").json()
    assert (turn["draft"], turn["draft_unreadable"]) == ({"fields": {}}, False)
    assert anna.post(f"/api/v1/tasks/{task_id}/judgments", json={"key": "a", "answer": {"ranks": [1, 2, 3]}}).is_success


def test_a_lease_of_thousands_of_years_of_an_older_version_is_a_week(
    ws: Workspace, people: People, campaign: Campaign
) -> None:
    with writing(ws.engine) as connection:
        settings = connection.execute(CAMPAIGN_STATES.select()).mappings().one()["settings"]
        connection.execute(update(CAMPAIGN_STATES).values(settings={**settings, "lease_minutes": 4e9}))
    anna = script(ws, people.anna)
    task_id = anna.get(f"/api/v1/campaigns/{campaign.id}/next").json()["turn"]["task_id"]
    assert client(ws, people.ben).get(f"/c/{campaign.id}").status_code == 200
    assert anna.put(f"/api/v1/tasks/{task_id}/draft", json={"draft": {}}).status_code == 204
    lead = script(ws, people.lead)
    assert lead.get(f"/api/v1/campaigns/{campaign.id}/summary").json()["options"]["lease_minutes"] == 7 * 24 * 60
    changed = lead.patch(f"/api/v1/campaigns/{campaign.id}", json={"revision": 1, "changes": {"lease_minutes": 4e9}})
    assert changed.status_code == 422
    assert "lease_minutes" in changed.json()["error"]["found"]
    assert not math.isinf(lead.get(f"/api/v1/campaigns/{campaign.id}/summary").json()["options"]["lease_minutes"])
