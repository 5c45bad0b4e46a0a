"""The JSON API: what is acknowledged is stored, once; two tabs; surplus; leads' calls; the description of it all."""

from __future__ import annotations

import io
import json
import re
import zipfile
from html.parser import HTMLParser
from typing import Any

import pytest

from preflab.records import (
    Answer,
    Completion,
    LikertAnswer,
    Prompt,
    RankingAnswer,
    SideBySideAnswer,
    ThumbsAnswer,
)  # fmt: skip
from preflab.store.workspace import Workspace
from preflab.web.api.shown_order import as_in_task, as_shown
from web_app import People, client, make_campaign, script, simple_texts


def test_a_task_comes_without_what_a_labeler_must_not_know(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, [["one", "two", "three"]])
    robot = script(ws, people.anna)
    found = robot.get(f"/api/v1/campaigns/{campaign.id}/next").json()
    turn = found["turn"]
    assert found["must_read"] == 1
    texts = [spans[0]["text"] for spans in turn["completions"]]
    assert sorted(texts) == ["one", "three", "two"]
    assert "shown_order" not in turn  # the task's own order may tell who wrote what
    assert turn["revision"] == 0
    assert turn["answer"] is None
    again = robot.get(f"/api/v1/campaigns/{campaign.id}/next").json()["turn"]
    assert (again["task_id"], again["completions"]) == (turn["task_id"], turn["completions"])
    read = f"/api/v1/campaigns/{campaign.id}/instructions/read"
    assert robot.post(read, json={"version": 1}).status_code == 204
    assert robot.get(f"/api/v1/campaigns/{campaign.id}/next").json()["must_read"] is None
    assert robot.get(f"/api/v1/campaigns/{campaign.id}/instructions").json()["text"] == "Say which is better."


def take(robot: Any, campaign_id: str) -> dict[str, Any]:
    """The next task of a labeler."""
    turn: dict[str, Any] = robot.get(f"/api/v1/campaigns/{campaign_id}/next").json()["turn"]
    return turn


def texts_of(turn: dict[str, Any]) -> list[str]:
    """The completions as they were given."""
    return [spans[0]["text"] for spans in turn["completions"]]


@pytest.mark.parametrize(
    ("answer", "shown_order", "in_task"),
    [
        (RankingAnswer((2, 1, None)), (2, 0, 1), RankingAnswer((1, None, 2))),
        (RankingAnswer((1, 2), {"overall": (7, 3)}), (1, 0), RankingAnswer((2, 1), {"overall": (3, 7)})),
        (SideBySideAnswer("first", None, (False, True)), (1, 0), SideBySideAnswer("second", None, (True, False))),
        (SideBySideAnswer("first"), (0, 1), SideBySideAnswer("first")),
        (SideBySideAnswer("equal"), (1, 0), SideBySideAnswer("equal")),
        (SideBySideAnswer(None, 0), (2, 0, 1), SideBySideAnswer(None, 2)),
        (SideBySideAnswer(None, 2), (2, 0, 1), SideBySideAnswer(None, 1)),
        (LikertAnswer({"a": (5, 1, 3)}), (2, 0, 1), LikertAnswer({"a": (1, 3, 5)})),
        (ThumbsAnswer((True, False, None), (False, False, True)), (1, 2, 0),
         ThumbsAnswer((None, True, False), (True, False, False))),
    ],
)  # fmt: skip
def test_answers_are_aligned_with_what_was_shown(answer: Answer, shown_order: tuple[int, ...], in_task: Answer) -> None:
    assert as_in_task(answer, shown_order) == in_task
    assert as_shown(in_task, shown_order) == answer


def test_what_is_acknowledged_is_stored_once(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    robot = script(ws, people.anna)
    turn = take(robot, campaign.id)
    path = f"/api/v1/tasks/{turn['task_id']}/judgments"
    body = {"key": "k1", "answer": {"ranks": [2, 1, "F"]}, "active_ms": 8000, "note": "because", "flagged": True}
    first = robot.post(path, json=body)
    assert first.status_code == 201
    stored = ws.judgments()
    assert [judgment.id for judgment in stored] == [first.json()["judgment_id"]]
    assert isinstance(stored[0].answer, RankingAnswer)
    by_text = dict(zip(texts_of(turn), [2, 1, None], strict=True))
    own_order = [each.text for each in ws.completions(stored[0].completion_ids)]
    assert stored[0].answer.ranks == tuple(by_text[text] for text in own_order)
    assert [own_order[index] for index in stored[0].shown_order] == texts_of(turn)
    assert robot.get(f"/api/v1/tasks/{turn['task_id']}").json()["answer"] == {"ranks": [2, 1, "F"]}
    assert (stored[0].note, stored[0].flagged, stored[0].active_ms) == ("because", True, 8000)
    second = robot.post(path, json=body)
    assert second.status_code == 200
    assert second.json() == first.json() | {"repeated": True}
    by_header = robot.post(path, json={"answer": {"ranks": [1, 2, 3]}}, headers={"Idempotency-Key": "k1"})
    assert by_header.json()["judgment_id"] == first.json()["judgment_id"]
    assert len(ws.judgments(all_revisions=True)) == 1
    assert robot.post(path, json={"answer": {"ranks": [1, 2, 3]}}).status_code == 422  # no key, no promise


def test_two_tabs_do_not_overwrite_each_other(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(1))
    robot = script(ws, people.anna)
    path = f"/api/v1/tasks/{take(robot, campaign.id)['task_id']}/judgments"
    assert robot.post(path, json={"key": "a", "answer": {"ranks": [1, 2, 3]}}).status_code == 201
    stale = robot.post(path, json={"key": "b", "answer": {"ranks": [3, 2, 1]}})
    assert stale.status_code == 409
    assert stale.json()["error"]["kind"] == "stale"
    assert stale.json()["error"]["current_revision"] == 1
    edit = robot.post(path, json={"key": "c", "based_on": 1, "answer": {"ranks": [3, 2, 1]}})
    assert edit.json()["revision"] == 2
    assert len(ws.judgments(all_revisions=True)) == 2


def test_work_is_kept_when_the_campaign_was_closed_meanwhile(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(1))
    lead, robot = script(ws, people.lead), script(ws, people.anna)
    turn = take(robot, campaign.id)
    assert lead.put(f"/api/v1/campaigns/{campaign.id}/state", json={"state": "closed"}).status_code == 204
    body = {"key": "late", "answer": {"ranks": [1, 1, 2]}}
    reply = robot.post(f"/api/v1/tasks/{turn['task_id']}/judgments", json=body)
    assert reply.status_code == 201
    assert reply.json()["surplus"] is True
    waiting = robot.get(f"/api/v1/campaigns/{campaign.id}/next").json()
    assert waiting["turn"] is None
    assert waiting["reason"]


def test_drafts_come_back_and_a_skip_takes_the_task_away(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    robot = script(ws, people.anna)
    turn = take(robot, campaign.id)
    path = f"/api/v1/tasks/{turn['task_id']}"
    assert robot.put(f"{path}/draft", json={"draft": {"note": "half a <b>"}}).status_code == 204
    assert robot.get(path).json()["draft"] == {"note": "half a <b>"}
    assert robot.post(f"{path}/skip", json={"reason": "not my language"}).status_code == 204
    assert take(robot, campaign.id)["task_id"] != turn["task_id"]
    progress = robot.get(f"/api/v1/campaigns/{campaign.id}/progress").json()
    assert (progress["num_done"], progress["num_skipped"]) == (0, 1)


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({"ranks": [1, 2]}, "ranks"),
        ({"ranks": [1, 2, 9]}, "ranks[2]"),
        ({"ranks": [1, 2, "G"]}, "ranks[2]"),
        ({"ranks": [1, 2, True]}, "ranks[2]"),
        ({"choice": "first"}, "choice"),
        ({}, "ranks"),
    ],
)
def test_an_answer_that_is_none_is_refused_by_name(
    ws: Workspace, people: People, answer: dict[str, Any], field: str
) -> None:
    robot = script(ws, people.anna)
    turn = take(robot, make_campaign(ws, simple_texts(1)).id)
    reply = robot.post(f"/api/v1/tasks/{turn['task_id']}/judgments", json={"key": "k", "answer": answer})
    assert reply.status_code == 422
    assert field in reply.json()["error"]["found"]
    assert not ws.judgments()


def test_a_lead_makes_runs_and_reads_a_campaign(ws: Workspace, people: People) -> None:
    prompt = Prompt.make(text="Why?")
    made = [Completion.make(prompt.id, text, "m", index=i) for i, text in enumerate(("Because.", "No.", "So."))]
    ws.put([prompt, *made])
    lead, robot = script(ws, people.lead), script(ws, people.anna)
    body = {
        "options": {"name": "New", "overlap": 1},
        "groups": [[completion.id for completion in made]],
        "instructions": "Be *fair*.",
    }
    reply = lead.post("/api/v1/campaigns", json=body)
    assert reply.status_code == 201
    campaign_id = reply.json()["id"]
    unknown = lead.post("/api/v1/campaigns", json=body | {"options": {"name": "x", "overlapp": 1}})
    assert unknown.status_code == 422
    assert "overlapp" in unknown.json()["error"]["found"]
    changed = lead.patch(f"/api/v1/campaigns/{campaign_id}", json={"revision": 1, "changes": {"hourly_cost": 20}})
    assert changed.status_code == 204
    late = lead.patch(f"/api/v1/campaigns/{campaign_id}", json={"revision": 1, "changes": {"hourly_cost": 30}})
    assert late.status_code == 409
    turn = take(robot, campaign_id)
    best, worst = texts_of(turn).index("No."), texts_of(turn).index("So.")
    judged = {"key": "k", "answer": {"ranks": [1 if i == best else 3 if i == worst else 2 for i in range(3)]}}
    assert robot.post(f"/api/v1/tasks/{turn['task_id']}/judgments", json=judged).status_code == 201
    lines = lead.get(f"/api/v1/campaigns/{campaign_id}/judgments").text.splitlines()
    assert [json.loads(line)["answer"]["ranks"] for line in lines] == [[2, 1, 3]]
    assert "Anna" not in lines[0]
    preferences = [
        json.loads(line) for line in lead.get(f"/api/v1/campaigns/{campaign_id}/preferences").text.splitlines()
    ]
    assert preferences[0]["ranks"] == [2, 1, 3]
    summary = lead.get(f"/api/v1/campaigns/{campaign_id}/summary").json()
    assert (summary["num_done"], summary["num_labels"], summary["revision"]) == (1, 1, 2)
    assert summary["options"]["hourly_cost"] == 20
    assert "Anna" not in json.dumps(summary)
    archive = lead.get(f"/api/v1/campaigns/{campaign_id}/export", params={"format": "trl-explicit"})
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        rows = [json.loads(line) for line in files.read("new.trl-explicit.jsonl").splitlines()]
    assert {(row["chosen"], row["rejected"]) for row in rows} == {
        ("No.", "Because."),
        ("No.", "So."),
        ("Because.", "So."),
    }
    invite = lead.post("/api/v1/invites", json={"role": "labeler", "campaign_ids": [campaign_id]})
    assert invite.status_code == 201
    assert invite.json()["url"].startswith("http://127.0.0.1:8400/invite/")
    new = lead.post(f"/api/v1/campaigns/{campaign_id}/instructions", json={"text": "Be fairer."})
    assert new.status_code == 204
    assert robot.get(f"/api/v1/campaigns/{campaign_id}").json()["guideline_version"] == 2


def test_a_campaign_is_made_of_new_texts(ws: Workspace, people: People) -> None:
    lead, robot = script(ws, people.lead), script(ws, people.anna)
    rows = [
        {"prompt": "Why?", "completions": ["Because.", "No."], "models": ["a", "b"], "topic": "reasons"},
        {"prompt": "How?", "completions": ["So.", "Thus."]},
    ]
    body = {"options": {"name": "New", "way": "side_by_side", "overlap": 1}, "rows": rows}
    campaign_id = lead.post("/api/v1/campaigns", json=body | {"gold": {"1": {"choice": "first"}}}).json()["id"]
    assert {prompt.text for prompt in ws.prompts()} == {"Why?", "How?"}
    turn = take(robot, campaign_id)
    assert turn["prompt"] in ("Why?", "How?")
    other = {"options": {"name": "Other", "way": "side_by_side", "overlap": 1}}
    for wrong, said in (
        ({"rows": [{"prompt": "Why?"}]}, "row 0"),
        ({"rows": [], "groups": []}, "groups and rows"),
        ({"rows": rows, "groups": [["x"]]}, "groups and rows"),
        ({"rows": rows, "gold": {"7": {"choice": "first"}}}, "gold"),
    ):
        reply = lead.post("/api/v1/campaigns", json=body | other | wrong)
        assert reply.status_code == 422
        assert said in reply.json()["error"]["found"]


def test_a_token_without_a_cookie_may_come_from_anywhere_and_a_cookie_may_not(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(1))
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    path = f"/api/v1/campaigns/{campaign.id}/instructions/read"
    assert script(ws, people.anna).post(path, json={"version": 1}, headers=evil).status_code == 204
    browser = client(ws, people.anna)
    reply = browser.post(path, json={"version": 1}, headers=evil)
    assert reply.status_code == 403
    assert reply.json()["error"]["found"]


class Ids(HTMLParser):
    """Ids and links of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {given["id"] or ""} if "id" in given else set()
        self.links |= {given["href"] or ""} if "href" in given else set()


def test_the_api_describes_itself_without_help_from_elsewhere(ws: Workspace, people: People) -> None:
    browser = client(ws, people.anna)
    schema = browser.get("/api/v1/openapi.json").json()
    html = browser.get("/api/docs").text
    found = Ids(html)
    for path, methods in schema["paths"].items():
        assert path.startswith("/api/v1/")
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in html
            assert operation["description"]
    assert not [link for link in found.links if link.startswith("#") and link[1:] not in found.ids]
    assert not [link for link in found.links if "://" in link]
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", html, re.S)
    assert all(re.search(r' src="/static/[^"]+"', attributes) and not body for attributes, body in scripts)
