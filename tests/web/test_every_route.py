"""What holds for every address, tried on all that the app has: cross-site changes, hostile text, limits of forms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from app_routes import filled, routes
from labelling_site import Site, watched
from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.submissions import Submission, submit
from preflab.records import RankingAnswer
from preflab.store.workspace import Workspace
from preflab.web.security import SAFE
from preflab.web.settings import MAX_BODY
from web_app import PASSWORD, People, client, make_campaign, script

STRANGE: tuple[dict[str, str], ...] = (
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:8400.evil.example"},
    {"Origin": "http://127.0.0.1:9000"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://127.0.0.1:8400", "Sec-Fetch-Site": "cross-site"},
)  # fmt: skip
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}\u202ejavascript:alert(3)'


def test_no_other_site_changes_anything_by_any_address(ws: Workspace, people: People) -> None:
    wrong, num = [], 0
    for account in (people.lead, people.anna):
        browser = client(ws, account)
        for route in routes(ws):
            for method in sorted(route.methods - set(SAFE)):
                for headers in STRANGE:
                    status = browser.request(method, filled(route.path, {})[0], headers=headers).status_code
                    num += 1
                    wrong += [(method, route.path, headers, status)] if status != 403 else []
    assert wrong == []
    assert num > 300


def test_hostile_text_is_text_on_every_page(ws: Workspace, people: People) -> None:
    """In every text that somebody can write, on every page that anybody can open."""
    campaign = make_campaign(
        ws, [[HOSTILE, f"{HOSTILE} again"]] * 2, prompts=[f"{HOSTILE} 1", f"{HOSTILE} 2"], instructions=HOSTILE,
        name=HOSTILE[:200], question=HOSTILE, content="markdown",
    )  # fmt: skip
    mallory = create_account(ws, HOSTILE.replace("\u202e", ""), "labeler", PASSWORD)
    turn = next_turn(ws, campaign.id, mallory.labeler_id)
    assert turn is not None
    given = {"key": "k", "task_id": turn.task.id, "labeler_id": mallory.labeler_id, "based_on": 0, "active_ms": 9000}
    submit(ws, Submission(**given, answer=RankingAnswer((1, 2)), note=HOSTILE, flagged=True))
    known = {
        "campaign_id": [campaign.id], "task_id": [task.id for task in ws.tasks()], "account_id": [mallory.id],
        "labeler_id": [mallory.labeler_id], "judgment_id": [each.id for each in ws.judgments()],
    }  # fmt: skip
    num = 0
    for account in (people.lead, people.adjudicator, mallory):
        browser = client(ws, account)
        for route in routes(ws):
            for path in filled(route.path, known) if "GET" in route.methods else ():
                reply = browser.get(path)
                assert reply.status_code < 500, path
                if reply.headers.get("content-type", "").startswith("text/html") and reply.status_code == 200:
                    num += HOSTILE[:4] in reply.text or "onerror=alert" in reply.text
                    assert "<img src=x" not in reply.text, path
                    assert "<script>alert" not in reply.text, path
                    assert not re.search(r"""href=["']?\s*javascript:""", reply.text), path
    assert num > 5


@pytest.mark.parametrize("role", ["lead", "anna", "adjudicator"])
def test_only_leads_send_long_bodies(ws: Workspace, people: People, role: str) -> None:
    robot = script(ws, getattr(people, role))
    for length, status in ((3 * 2**20, 422 if role == "lead" else 413), (MAX_BODY + 1, 413)):
        reply = robot.post("/api/v1/campaigns", content=b" " * length, headers={"Content-Type": "application/json"})
        assert reply.status_code == status
    assert robot.post("/api/v1/campaigns", content=b" " * 2**20).status_code in (403, 422)


@pytest.mark.browser
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "none"])
def test_a_file_that_is_too_large_loses_nothing_that_was_typed(
    browser: Any, site: Site, tmp_path: Path, scripts: bool
) -> None:
    """With a script nothing is sent; without, the answer names the way and the browser still has the form."""
    lead = create_account(site.ws, f"Lead {scripts}", "lead", PASSWORD)
    large = tmp_path / "large.jsonl"
    large.write_bytes(b'{"prompt": "P?", "completions": ["a", "b"]}\n' * 500_000)
    assert large.stat().st_size > MAX_BODY
    context = site.context(browser, lead, java_script_enabled=scripts)
    page = context.new_page()
    wrong = watched(page)
    page.goto("/lead/new")
    assert "up to 16 MB" in page.inner_text("main")
    page.fill("input[name=name]", "Round 7")
    page.fill("textarea[name=instructions]", "Read all of both.")
    page.set_input_files("input[name=file]", str(large))
    page.click("button[value=create]")
    if scripts:
        said = page.locator("#too-large")
        said.wait_for(state="visible")
        assert page.url.endswith("/lead/new")
        assert not wrong
    else:
        page.wait_for_selector("h1:has-text('too long')", timeout=60_000)
        said = page.locator("main")
    assert "preflab campaign create FILE --name NAME" in said.inner_text()
    assert "16" in said.inner_text()
    if not scripts:
        page.go_back()
    assert page.input_value("input[name=name]") == "Round 7"
    assert page.input_value("textarea[name=instructions]") == "Read all of both."
    context.close()
