"""The labelling pages as plain forms: instructions first, whose tasks are whose, stale forms, waiting, the end."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from preflab.labelling.campaigns import new_guideline, read_guideline, set_state
from preflab.labelling.members import take_off
from preflab.records import Campaign, RankingAnswer
from preflab.store.workspace import Workspace
from web_app import People, client, make_campaign, script, simple_texts


@pytest.fixture
def campaign(ws: Workspace, people: People) -> Campaign:
    """Three tasks of three completions, whose instructions Anna has read."""
    made = make_campaign(ws, simple_texts(3), overlap=1, instructions="Take your **time**.")
    read_guideline(ws, made.id, people.anna.labeler_id, 1)
    return made


def words(html: str) -> str:
    """What one reads of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<(style|template).*?</\1>|<[^>]+>", " ", html, flags=re.S)))


def form_of(html: str) -> tuple[str, dict[str, str]]:
    """Where the labelling form is sent, and its hidden fields."""
    action = re.search(r'<form id="judging" method="post" action="([^"]+)"', html)
    assert action is not None
    return action.group(1), dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', html))


def begun(browser: Any, campaign: Campaign) -> tuple[str, dict[str, str]]:
    return form_of(browser.get(f"/c/{campaign.id}").text)


RANKS = {"rank_0": "2", "rank_1": "1", "rank_2": "F"}


def test_instructions_come_first_and_again_when_they_change(ws: Workspace, people: People, campaign: Campaign) -> None:
    browser = client(ws, people.ben)
    reply = browser.get(f"/c/{campaign.id}")
    assert (reply.status_code, reply.headers["location"]) == (303, f"/c/{campaign.id}/instructions")
    page = browser.get(f"/c/{campaign.id}/instructions")
    assert "<strong>time</strong>" in page.text
    reply = browser.post(f"/c/{campaign.id}/instructions", data={"version": "1"})
    assert reply.headers["location"] == f"/c/{campaign.id}"
    action, hidden = begun(browser, campaign)
    new_guideline(ws, campaign.id, "Take **even more** time.", people.lead.id)
    stored = browser.post(action, data=hidden | RANKS)  # begun under the old ones: stored, under the old ones
    assert stored.status_code == 303
    assert ws.judgments(campaign_id=campaign.id)[0].guideline_version == 1
    assert browser.get(f"/c/{campaign.id}").headers["location"].endswith("/instructions")
    assert "They have changed since you last read them" in browser.get(f"/c/{campaign.id}/instructions").text


def test_a_plain_form_stores_an_answer_once(ws: Workspace, people: People, campaign: Campaign) -> None:
    browser = client(ws, people.anna)
    action, hidden = begun(browser, campaign)
    for _ in range(2):  # the second is a reload of the reply
        reply = browser.post(action, data=hidden | RANKS | {"note": " why ", "flagged": "1"})
        assert (reply.status_code, reply.headers["location"]) == (303, f"/c/{campaign.id}")
    (stored,) = ws.judgments(campaign_id=campaign.id, all_revisions=True)
    assert isinstance(stored.answer, RankingAnswer)
    assert [stored.answer.ranks[index] for index in stored.shown_order] == [2, 1, None]
    assert (stored.note, stored.flagged) == ("why", True)


def test_a_stale_form_keeps_what_was_entered(ws: Workspace, people: People, campaign: Campaign) -> None:
    browser = client(ws, people.anna)
    action, hidden = begun(browser, campaign)
    browser.post(action, data=hidden | RANKS)
    late = browser.post(action, data={**hidden, "key": "another", "note": "my late words", "rank_0": "1", "rank_1": "1",
                                      "rank_2": "3"})  # fmt: skip
    assert late.status_code == 409
    assert "my late words" in late.text
    assert "already submitted this task elsewhere" in late.text
    again, newer = form_of(late.text)
    assert newer["based_on"] == "1"
    assert browser.post(again, data=newer | RANKS).status_code == 303
    assert {each.revision for each in ws.judgments(campaign_id=campaign.id, all_revisions=True)} == {1, 2}


def test_for_a_script_the_same_errors_are_json(ws: Workspace, people: People, campaign: Campaign) -> None:
    browser = client(ws, people.anna)
    action, hidden = begun(browser, campaign)
    as_json = {"Accept": "application/json"}
    reply = browser.post(action, data=hidden | {"rank_0": "1"}, headers=as_json)
    assert (reply.status_code, reply.json()["error"]["found"]) == (422, "Still to do: a rank for B and C")
    assert browser.post(action, data=hidden | RANKS, headers=as_json).json() == {"next": f"/c/{campaign.id}"}
    reply = browser.post(action, data={**hidden, "key": "x"} | RANKS, headers=as_json)
    assert (reply.status_code, reply.json()["error"]["current_revision"]) == (409, 1)
    reply = client(ws).post(action, data=hidden | RANKS, headers=as_json)
    assert (reply.status_code, reply.json()["error"]["kind"]) == (401, "signed_out")


@pytest.mark.parametrize("fields", [{"rank_0": "9"}, {"rank_0": "one"}, {"rank_0": "1e3"}, {"rank_0": "-1"}])
def test_odd_values_are_refused_with_the_form_kept(
    ws: Workspace, people: People, campaign: Campaign, fields: dict[str, str]
) -> None:
    browser = client(ws, people.anna)
    action, hidden = begun(browser, campaign)
    reply = browser.post(action, data=hidden | RANKS | fields | {"note": "kept words"})
    assert reply.status_code == 422
    assert "kept words" in reply.text
    assert ". Expected: a whole number from 1 to 3 or " in reply.text
    assert list(ws.judgments(campaign_id=campaign.id)) == []


def test_nobody_opens_anothers_task(ws: Workspace, people: People, campaign: Campaign) -> None:
    action, hidden = begun(client(ws, people.anna), campaign)
    read_guideline(ws, campaign.id, people.ben.labeler_id, 1)
    ben = client(ws, people.ben)
    assert ben.get(action).status_code == 404
    assert ben.post(action, data=hidden | RANKS).status_code == 404
    assert ben.post(f"{action}/skip", data={"reason": "x"}).status_code == 404
    other = make_campaign(ws, simple_texts(1), name="Other")
    read_guideline(ws, other.id, people.anna.labeler_id, 1)
    elsewhere = action.replace(campaign.id, other.id)  # one's own task, under another campaign's address
    assert client(ws, people.anna).get(elsewhere).status_code == 404


def test_an_edit_opens_with_the_answer_and_its_note(ws: Workspace, people: People, campaign: Campaign) -> None:
    browser = client(ws, people.anna)
    action, hidden = begun(browser, campaign)
    browser.post(action, data=hidden | RANKS | {"note": "first thought"})
    page = browser.get(action + "?back=done").text
    assert "first thought" in page
    assert len(re.findall(r"<input[^>]*data-key[^>]* checked", page)) == 3
    again, fields = form_of(page)
    reply = browser.post(again, data=fields | RANKS | {"note": "second thought"})
    assert reply.headers["location"] == f"/c/{campaign.id}/done?stored=1"
    assert "Your change is stored" in browser.get(reply.headers["location"]).text


def test_the_end_says_thanks_and_waiting_says_for_what(ws: Workspace, people: People, campaign: Campaign) -> None:
    anna, ben = client(ws, people.anna), client(ws, people.ben)
    read_guideline(ws, campaign.id, people.ben.labeler_id, 1)
    for _ in range(2):
        action, hidden = begun(anna, campaign)
        anna.post(action, data=hidden | RANKS)
    begun(anna, campaign)
    said = words(ben.get(f"/c/{campaign.id}").text)
    assert "The last task is reserved for other people" in said
    assert "within 30 minutes" in said
    action, hidden = begun(anna, campaign)
    anna.post(action, data=hidden | RANKS)
    assert "That was the last one. Thank you!" in words(anna.get(f"/c/{campaign.id}").text)
    assert "You have judged 3 of 3" in words(anna.get(f"/c/{campaign.id}").text)
    set_state(ws, campaign.id, "paused")
    assert "paused" in words(ben.get(f"/c/{campaign.id}").text)
    done = words(anna.get(f"/c/{campaign.id}/done").text)
    assert done.count("Change") == 3
    assert "Question 0?" in done


def test_a_closed_campaign_still_takes_what_was_begun(ws: Workspace, people: People, campaign: Campaign) -> None:
    anna = client(ws, people.anna)
    action, hidden = begun(anna, campaign)
    set_state(ws, campaign.id, "closed")
    assert anna.post(action, data=hidden | RANKS).status_code == 303
    assert ws.judgments(campaign_id=campaign.id)[0].surplus


def test_haste_is_asked_about_without_a_script_too(ws: Workspace, people: People, campaign: Campaign) -> None:
    anna = client(ws, people.anna)
    action, hidden = begun(anna, campaign)
    down = {"rank_0": "1", "rank_1": "2", "rank_2": "3"}
    page = anna.post(action, data=hidden | down)
    assert "exactly in the order shown" in page.text
    assert list(ws.judgments(campaign_id=campaign.id)) == []
    again, fields = form_of(page.text)
    assert anna.post(again, data=fields | down | {"confirmed": "1"}).status_code == 303


def test_many_ties_are_met_with_a_quiet_word(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(7, k=2), overlap=1, max_tie_rate_nudge=0.5)
    read_guideline(ws, campaign.id, people.anna.labeler_id, 1)
    anna = client(ws, people.anna)
    for number in range(5):
        assert "You have called" not in anna.get(f"/c/{campaign.id}").text, number
        action, hidden = begun(anna, campaign)
        anna.post(action, data=hidden | {"rank_0": "1", "rank_1": "1"})
    assert "You have called 100 % of the pairs a tie" in words(anna.get(f"/c/{campaign.id}").text)


@pytest.mark.parametrize("door", ["form", "page's script", "api"])
def test_a_task_that_was_open_is_taken_when_the_campaign_went_to_others(
    ws: Workspace, people: People, campaign: Campaign, door: str
) -> None:
    browser = client(ws, people.anna)
    action, hidden = begun(browser, campaign)
    take_off(ws, campaign.id, people.anna.labeler_id)
    assert browser.get(f"/c/{campaign.id}").status_code == 404
    if door == "api":
        body = {"key": "k", "answer": {"ranks": [2, 1, "F"]}}
        path = f"/api/v1/tasks/{action.rpartition('/')[2]}/judgments"
        reply = script(ws, people.anna).post(path, json=body)
        assert (reply.status_code, reply.json()["surplus"]) == (201, True)
    elif door == "form":
        reply = browser.post(action, data=hidden | RANKS)
        assert (reply.status_code, reply.headers["location"]) == (303, "/?stored=1")
        assert "Your answer is stored." in browser.get("/?stored=1").text
    else:
        reply = browser.post(action, data=hidden | RANKS, headers={"Accept": "application/json"})
        assert reply.json() == {"next": "/?stored=1"}
    (judgment,) = ws.judgments(campaign_id=campaign.id)
    assert isinstance(judgment.answer, RankingAnswer)
    assert tuple(judgment.answer.ranks[index] for index in judgment.shown_order) == (2, 1, None)
    assert (judgment.labeler_id, judgment.surplus) == (people.anna.labeler_id, True)
