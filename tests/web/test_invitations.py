"""An invitation opened by somebody who has an account, on the page and by the API: who finds which campaign."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from preflab.labelling.accounts import Account, create_account
from preflab.labelling.invites import create_invite, invites
from preflab.labelling.members import take_off
from preflab.store.workspace import Workspace
from web_app import PASSWORD, People, client, make_campaign, script, simple_texts


@pytest.fixture
def only(ws: Workspace) -> Account:
    """Somebody who judges only where let in by name."""
    return create_account(ws, "Only One", "labeler", PASSWORD, everywhere=False)


def said(reply: Any) -> str:
    """The text of a page without its tags."""
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", reply.text).split()))


def test_one_joins_with_the_account_one_has(ws: Workspace, people: People, only: Account) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    _, secret = create_invite(ws, "labeler", [campaign.id], by=people.lead.id)
    browser = client(ws, only)
    assert browser.get(f"/c/{campaign.id}").status_code == 404
    page = browser.get(f"/invite/{secret}")
    assert f'action="/invite/{secret}/join"' in page.text
    assert "You are signed in as Only One" in said(page)
    assert 'type="password"' not in page.text
    for _ in range(2):  # twice is harmless
        reply = browser.post(f"/invite/{secret}/join")
        assert (reply.status_code, reply.headers["location"]) == (303, f"/c/{campaign.id}")
    assert browser.get(f"/c/{campaign.id}").status_code == 303  # to the instructions
    assert f'href="/c/{campaign.id}"' in browser.get("/").text
    other = client(ws, people.ben).post(f"/invite/{secret}/join")
    assert (other.status_code, "was used already" in other.text) == (403, True)
    assert client(ws).post(f"/invite/{secret}", data={"name": "M", "password": PASSWORD}).status_code == 403


def test_one_signs_in_from_the_invitation_and_comes_back_to_it(ws: Workspace, people: People, only: Account) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    _, secret = create_invite(ws, "labeler", [campaign.id])
    browser = client(ws)
    page = browser.get(f"/invite/{secret}")
    assert "Make an account" in said(page)
    assert f'href="/signin?next=/invite/{secret}"' in page.text
    form = browser.get(f"/signin?next=/invite/{secret}").text
    assert f'name="next" value="/invite/{secret}"' in form
    reply = browser.post("/signin", data={"name": "Only One", "password": PASSWORD, "next": f"/invite/{secret}"})
    assert reply.headers["location"] == f"/invite/{secret}"
    assert "Join" in said(browser.get(f"/invite/{secret}"))
    browser.post(f"/invite/{secret}/join")
    assert browser.get(f"/c/{campaign.id}").status_code == 303


def test_joining_needs_a_session_and_comes_from_the_app_s_own_page(ws: Workspace, only: Account) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    _, secret = create_invite(ws, "labeler", [campaign.id])
    assert client(ws).post(f"/invite/{secret}/join").status_code == 401
    forged = client(ws, only).post(f"/invite/{secret}/join", headers={"Origin": "https://evil.example"})
    assert forged.status_code == 403
    assert client(ws, only).get(f"/invite/{secret}/join").status_code == 405  # a link must not make anybody join
    assert invites(ws)[0].state == "open"


def test_a_link_that_opens_nothing_new_says_so_and_stays_open(ws: Workspace, people: People) -> None:
    make_campaign(ws, simple_texts(2))
    _, secret = create_invite(ws, "labeler")
    browser = client(ws, people.anna)
    page = browser.get(f"/invite/{secret}")
    assert "already have access to this on your first page" in said(page)
    assert "/join" not in page.text
    reply = browser.post("/signout", data={"next": f"/invite/{secret}"})
    assert reply.headers["location"] == f"/invite/{secret}"
    assert "Make an account" in said(browser.get(f"/invite/{secret}"))
    assert client(ws, people.anna).post("/signout", data={"next": "https://evil.example"}).headers["location"] == "/"


@pytest.mark.parametrize("role", ["lead", "adjudicator", "labeler"])
def test_roles_never_rise_by_joining(ws: Workspace, people: People, only: Account, role: Any) -> None:
    make_campaign(ws, simple_texts(2))
    _, secret = create_invite(ws, role)
    browser, robot = client(ws, only), script(ws, only)
    page, reply = browser.get(f"/invite/{secret}"), browser.post(f"/invite/{secret}/join")
    if role == "lead":
        assert "cannot change the role of your account" in said(page)
        assert "/join" not in page.text
        assert (reply.status_code, invites(ws)[0].state) == (403, "open")
    else:
        assert (reply.status_code, reply.headers["location"]) == (303, "/")
        assert ("and stay a labeler" in said(page)) == (role == "adjudicator")
    assert robot.get("/api/v1/me").json()["role"] == "labeler"
    assert browser.get("/lead").status_code == browser.get("/lead/adjudicate").status_code == 403
    assert len(robot.get("/api/v1/campaigns").json()) == (role != "lead")


def test_an_adjudicator_who_joins_settles_there_too(ws: Workspace, people: People) -> None:
    one, two = make_campaign(ws, simple_texts(1)), make_campaign(ws, simple_texts(1))
    ada = create_account(ws, "Ada Two", "adjudicator", PASSWORD, everywhere=False)
    browser = client(ws, ada)
    assert browser.get(f"/lead/c/{one.id}/adjudicate").status_code == 404
    browser.post(f"/invite/{create_invite(ws, 'labeler', [one.id])[1]}/join")
    assert browser.get(f"/lead/c/{one.id}/adjudicate").status_code == 200
    assert browser.get(f"/lead/c/{two.id}/adjudicate").status_code == 404


def test_who_was_taken_off_does_not_come_back_by_an_old_link(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    _, secret = create_invite(ws, "labeler", [campaign.id])
    take_off(ws, campaign.id, people.anna.labeler_id)
    reply = client(ws, people.anna).post(f"/invite/{secret}/join")
    assert (reply.status_code, "taken off this campaign" in reply.text) == (403, True)
    assert client(ws, people.anna).get(f"/c/{campaign.id}").status_code == 404


def test_the_list_of_invitations_says_which_is_whose_and_when(ws: Workspace, people: People) -> None:
    one, two = make_campaign(ws, simple_texts(1), name="First one"), make_campaign(ws, simple_texts(1), name="Second")
    lead = client(ws, people.lead)
    form = {"role": "labeler", "hours": "24"}
    for fields in ({"where": "some", "campaign": [one.id, two.id]}, {"where": "some", "campaign": [two.id]}, {}):
        assert "/invite/" in said(lead.post("/lead/people/invite", data=form | fields))
    assert [each.campaign_ids for each in invites(ws)] == [(), (two.id,), (one.id, two.id)]
    text = said(lead.get("/lead/people"))
    for expected in (
        "labeler First one , Second 2",
        "labeler Second 2",
        "labeler all campaigns, including later ones 2",
    ):
        assert expected in text
    times = re.findall(r"20\d\d-\d\d-\d\d \d\d:\d\d(?: UTC)?", text + said(lead.get("/lead/audit")))
    assert len(times) > 6
    assert all(each.endswith(" UTC") for each in times)


def test_an_invitation_for_nothing_or_for_two_things_is_refused(ws: Workspace, people: People) -> None:
    campaign, lead = make_campaign(ws, simple_texts(1)), client(ws, people.lead)
    form = {"role": "labeler", "hours": "24"}
    for fields, found in [
        ({"where": "some"}, "No campaign is ticked"),
        ({"where": "all", "campaign": campaign.id}, "All campaigns are chosen, and some are ticked"),
        ({"where": "here", "campaign": campaign.id}, "Campaigns: 'here'"),
        ({"where": "some", "campaign": "campaign-none"}, "No campaign campaign-none"),
    ]:
        reply = lead.post("/lead/people/invite", data=form | fields)
        assert reply.status_code == 422
        assert found.lower() in said(reply).lower()
    assert invites(ws) == []


def test_a_lead_widens_and_narrows_what_somebody_finds(ws: Workspace, people: People, only: Account) -> None:
    campaign, lead = make_campaign(ws, simple_texts(1)), client(ws, people.lead)
    path = f"/lead/people/{only.id}/reach"
    assert lead.post(path, data={"reach": "all"}).status_code == 303
    assert client(ws, only).get(f"/c/{campaign.id}").status_code == 303
    assert (
        script(ws, people.lead).put(f"/api/v1/accounts/{only.id}/reach", json={"everywhere": False}).status_code == 204
    )
    assert client(ws, only).get(f"/c/{campaign.id}").status_code == 404
    assert lead.post(path, data={"reach": "x"}).status_code == 422


def test_people_of_a_campaign_by_the_api(ws: Workspace, people: People, only: Account) -> None:
    campaign, robot = make_campaign(ws, simple_texts(1)), script(ws, people.lead)
    path = f"/api/v1/campaigns/{campaign.id}/people"
    before = {each["name"]: (each["judges"], each["place"]) for each in robot.get(path).json()}
    assert (before["Anna"], before["Only One"]) == ((True, None), (False, None))
    assert robot.put(f"{path}/{only.id}").status_code == robot.delete(f"{path}/{people.anna.id}").status_code == 204
    after = {each["name"]: (each["judges"], each["place"]) for each in robot.get(path).json()}
    assert (after["Anna"], after["Only One"]) == ((False, "out"), (True, "in"))
    assert robot.put(f"{path}/account-none").status_code == robot.get("/api/v1/campaigns/x/people").status_code == 404
    body = {"options": {"name": campaign.name}, "rows": [{"prompt": "q", "completions": ["a", "b"]}]}
    taken = robot.post("/api/v1/campaigns", json=body)
    assert taken.status_code == 422
    assert campaign.id in taken.json()["error"]["found"]
