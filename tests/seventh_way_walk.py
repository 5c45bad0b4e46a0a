"""Walks a campaign of the way `worst` from end to end and prints what came of it, as JSON; `test_seventh_way` runs it.

It runs in a process of its own, with a copy of the package to which `data/seventh_way.diff` was applied.

python seventh_way_walk.py FOLDER [CHROMIUM]
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import preflab
from labelling_site import Site, press, submit_by_enter, texts_by_letter, watched
from preflab.cli import run_command
from preflab.feedback.coefficients import coefficients
from preflab.feedback.consensus import consensus_of
from preflab.labelers.simulated import known_of, panel
from preflab.labelers.simulated_ways import simulate_answer
from preflab.labelling.accounts import Account, create_account
from preflab.labelling.campaigns import campaign_view, read_guideline
from preflab.records import Campaign
from preflab.settings.feedback import PanelSettings
from preflab.store.answers import answer_to_json
from preflab.store.workspace import Workspace
from web_app import PASSWORD, client, script

TEXTS = ["the good one", "the fair one", "the bad one"]
ROWS = [{"prompt": f"Question {n}?", "completions": TEXTS} for n in range(2)]


def said(*words: str) -> dict[str, Any]:
    """What a command says as JSON."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run_command([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def walk(folder: Path) -> dict[str, Any]:
    """The campaign by commands, its page, answers through the API, what is made of them, out and in again."""
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    here, there = str(folder / "here"), str(folder / "there")
    made = said(
        "campaign", "create", str(folder / "c.jsonl"), "--name", "lowest", "--way", "worst", "--overlap", "2",
        "--workspace", here,
    )  # fmt: skip
    with Workspace.open(Path(here)) as ws:
        people = [create_account(ws, name, "labeler", PASSWORD) for name in ("Ann", "Bob")]
        for account in people:
            read_guideline(ws, made["campaign_id"], account.labeler_id, 1)
        view = campaign_view(ws, made["campaign_id"])
        page = client(ws, people[0]).get(f"/c/{made['campaign_id']}")
        found = {
            "package": preflab.__file__,
            "question": view.options.question,
            "instructions": view.guideline.text,
            "page": page.text,
            "refused": judged(ws, people[0], made["campaign_id"], {"worst": 3}),
            "receipts": [labelled(ws, account, made["campaign_id"]) for account in people],
            "described": client(ws, people[0]).get("/api/v1/openapi.json").text,
            "simulated": simulated(ws, view.campaign),
        }
        judgments = ws.judgments(campaign_id=made["campaign_id"])
        found["stored"] = [answer_to_json(judgment.answer) for judgment in judgments]
        agreed = [one.preference for one in consensus_of(judgments)]
        found["consensus"] = [{"pairs": each.chosen_rejected(), "ranks": each.ranks} for each in agreed]
        found["coefficients"] = {name: each.value for name, each in coefficients(judgments).items()}
    exported = said("export", "judgments", str(folder / "j.jsonl"), "--workspace", here)
    imported = said("import", str(folder / "j.jsonl"), "--workspace", there)
    with Workspace.open(Path(there)) as ws:
        found["imported"] = [answer_to_json(judgment.answer) for judgment in ws.judgments()]
        found["campaigns"] = [campaign.way for campaign in ws.campaigns()]
    rankings = said("export", "judgments", str(folder / "r.jsonl"), "--format", "rankings", "--workspace", here)
    found["rows"] = [exported["num_rows"], imported["num_rows"], rankings["num_rows"]]
    found["rankings"] = [json.loads(line)["ranks"] for line in (folder / "r.jsonl").read_text().splitlines()]
    return found


def labelled(ws: Workspace, account: Account, campaign_id: str) -> list[int]:
    """Both tasks through the API: the bad one is the worst; the statuses."""
    return [judged(ws, account, campaign_id)[0] for _ in ROWS]


def judged(
    ws: Workspace, account: Account, campaign_id: str, answer: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """The next task through the API, answered; status and body."""
    robot = script(ws, account)
    turn = robot.get(f"/api/v1/campaigns/{campaign_id}/next").json()["turn"]
    shown = [completion[0]["text"] for completion in turn["completions"]]
    answer = answer or {"worst": shown.index(TEXTS[2])}
    body = {"key": f"{account.id}/{turn['task_id']}", "based_on": 0, "answer": answer, "active_ms": 9000}
    reply = robot.post(f"/api/v1/tasks/{turn['task_id']}/judgments", json=body)
    return reply.status_code, reply.json()


def simulated(ws: Workspace, campaign: Campaign) -> list[Any]:
    """What a labeler without noise says of utilities 3, 2, 1, of a tie below, and of an F."""
    settings = PanelSettings(utility="a:b", num=1, noise=0.0, tie_width=0.1)
    task = ws.tasks(campaign_id=campaign.id)[0]
    completions = ws.completions(list(task.completion_ids))
    found = []
    for utilities in ([3.0, 2.0, 1.0], [3.0, 1.0, 1.0], [3.0, 2.0, None]):
        known = known_of(completions, utilities, ())
        seen = [known[completion.id] for completion in completions]
        rng = np.random.default_rng(0)
        found.append(answer_to_json(simulate_answer(campaign, panel(settings, 0)[0], seen, known, settings, rng)))
    return found


def in_browser(folder: Path, chromium: str) -> dict[str, Any]:
    """One task by keyboard in a real browser."""
    from playwright.sync_api import sync_playwright

    site = Site(folder)
    site.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            campaign = site.campaign("worst", [TEXTS])
            page = site.context(browser, site.labeler(campaign)).new_page()
            wrong = watched(page)
            page.goto(f"/c/{campaign.id}")
            page.wait_for_selector("html.scripted", state="attached")
            shown = texts_by_letter(page)
            place = list(shown.values()).index(TEXTS[2])
            press(page, str(place + 1))
            so_far = page.locator("#so-far").inner_text()
            submit_by_enter(page)
            browser.close()
        (judgment,) = site.judgments(campaign)
        return {
            "so_far": so_far,
            "letter": list(shown)[place],
            "stored": answer_to_json(judgment.answer),
            "wrong": wrong,
        }
    finally:
        site.close()


if __name__ == "__main__":
    where = Path(sys.argv[1])
    outcome = walk(where)
    if len(sys.argv) > 2:
        outcome["browser"] = in_browser(where / "site", sys.argv[2])
    print(json.dumps(outcome))
