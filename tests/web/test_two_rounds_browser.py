"""Two rounds of a recipe with people who came by the invitation that the commands print, in a browser, end to end.

Nobody is let in by hand: round 1 is judged by two people who opened a printed link, round 2 finds them without anything
new, and a third campaign is joined by one of them and not by the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labelling_load import Server
from labelling_site import go_on, press, submit_by_enter, texts_by_letter, watched
from preflab.cli import run_command
from preflab.labelling.accounts import list_accounts
from preflab.labelling.campaigns import list_campaigns
from preflab.store.workspace import Workspace
from two_rounds import NUM_TASKS, prepared, printed_command, worth
from web_app import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Captured = pytest.CaptureFixture[str]


def said(capsys: Captured, *words: str) -> str:
    """What a command prints; it has to go well."""
    capsys.readouterr()
    assert run_command(words) == 0
    return capsys.readouterr().out


def printed_link(capsys: Captured, before: str) -> str:
    """The link of the invitation that the command printed before tells one to make."""
    return said(capsys, *printed_command(before, "campaign", "invite")).splitlines()[0]


def judge_all(page: Any) -> int:
    """From the instructions on: every task there is, by keys, the text with more different words first."""
    go_on(page, page.get_by_role("button", name="I have read them: begin").click)
    num = 0
    while page.locator("#judging").count():
        values = {letter: worth(text) for letter, text in texts_by_letter(page).items()}
        press(page, " ".join(str(1 + sum(other > own for other in values.values())) for own in values.values()))
        submit_by_enter(page)
        num += 1
    return num


def test_two_rounds_by_printed_invitations_and_a_third_campaign(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path)
    first = said(capsys, "run")
    with Server(tmp_path) as server:
        pages, wrong = {}, []
        for name in ("Ann", "Bob"):
            page = pages[name] = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            wrong += [watched(page)]
            page.goto(printed_link(capsys, first))
            page.get_by_label("Name").fill(name)
            page.get_by_label("Password").fill(PASSWORD)
            go_on(page, page.get_by_role("button", name="Make an account").click)
            assert judge_all(page) == NUM_TASKS

        second = said(capsys, "run")
        assert "2 labelers see the campaign there already" in second
        for page in pages.values():
            page.goto(server.url)
            go_on(page, page.locator("li.card", has_text="labels@2").get_by_role("link", name="Start").click)
            assert judge_all(page) == NUM_TASKS
        assert "waiting" not in said(capsys, "run")

        (tmp_path / "third.jsonl").write_text(
            json.dumps({"prompt": "Hello?", "completions": ["hi there", "go"]}) + "\n"
        )
        third = said(capsys, "campaign", "create", "third.jsonl", "--name", "third", "--overlap", "1")
        ann, bob = pages["Ann"], pages["Bob"]
        ann.goto(printed_link(capsys, third))
        go_on(ann, ann.get_by_role("button", name="Join").click)
        assert judge_all(ann) == 1
        bob.goto(server.url)
        assert bob.locator("li.card").count() == 2
        assert "third" not in bob.inner_text("main")
    with Workspace.open(tmp_path) as store:
        views = {view.campaign.name: view for view in list_campaigns(store)}
        assert {name: view.num_labels for name, view in views.items()} == {"labels": 16, "labels@2": 16, "third": 1}
        people = {each.name: each for each in list_accounts(store)}
        mine = {name: {v.campaign.name for v in list_campaigns(store, people[name].labeler_id)} for name in pages}
    assert mine == {"Ann": {"labels", "labels@2", "third"}, "Bob": {"labels", "labels@2"}}
    assert wrong == [[], []]
