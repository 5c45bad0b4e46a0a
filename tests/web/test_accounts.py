"""Signing in and out, invitations, one's own account: cookies, rotation, revocation, rate limits, forged requests."""

from __future__ import annotations

import re
from datetime import timedelta
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest

from labelling_world import send
from preflab.labelling.accounts import accounts, revoke, set_role
from preflab.labelling.assignment import next_turn
from preflab.labelling.clock import utc_now
from preflab.labelling.invites import TRIES as INVITE_TRIES
from preflab.labelling.invites import create_invite, withdraw
from preflab.labelling.sessions import SESSION_AGE, tokens
from preflab.labelling.signing_in import FREE_TRIES
from preflab.store.workspace import Workspace
from preflab.web.pages.account import own_path
from preflab.web.settings import WebSettings
from web_app import OWN, PASSWORD, People, client, hold, make_campaign, script, simple_texts

COOKIE = WebSettings().cookie


def sign_in_as(browser: Any, name: str, password: str = PASSWORD, **other: str) -> Any:
    """What the form's button does."""
    return browser.post("/signin", data={"name": name, "password": password, **other})


def cookies_of(reply: Any) -> dict[str, Morsel[str]]:
    """The cookies that an answer sets, by name."""
    found: dict[str, Morsel[str]] = {}
    for header in reply.headers.get_list("set-cookie"):
        found |= SimpleCookie(header)
    return found


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use(ws: Workspace, people: People) -> None:
    browser = client(ws)
    reply = browser.post("/signin", data={"name": "anna", "password": PASSWORD, "next": "/me"})
    assert (reply.status_code, reply.headers["location"]) == (303, "/me")
    cookie = cookies_of(reply)[COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == "/"
    assert int(cookie["max-age"]) > 2 * SESSION_AGE.total_seconds()  # the server counts from the last visit
    assert not cookie["secure"]
    assert not cookie["domain"]
    assert len(cookie.value) >= 43  # 256 bits
    assert "Anna" in browser.get("/me").text


def test_over_tls_the_cookie_is_secure_and_bound_to_the_host(ws: Workspace, people: People) -> None:
    settings = WebSettings(public_url="https://label.example.org")
    browser = client(ws, settings=settings)
    reply = browser.post(
        "https://label.example.org/signin",
        data={"name": "Anna", "password": PASSWORD},
        headers={"Origin": "https://label.example.org"},
    )
    assert reply.status_code == 303
    found = cookies_of(reply)
    assert len(found) == 2
    for name, cookie in found.items():
        assert name.startswith("__Host-")
        assert cookie["secure"]
        assert cookie["httponly"]
        assert cookie["path"] == "/"
    assert "max-age" in reply.headers["strict-transport-security"]


def test_a_session_is_made_anew_at_each_sign_in(ws: Workspace, people: People) -> None:
    browser = client(ws)
    hold(browser, "chosen-by-an-attacker")
    sign_in_as(browser, "Anna")
    first = browser.cookies[COOKIE]
    assert first != "chosen-by-an-attacker"
    sign_in_as(browser, "Anna")
    second = browser.cookies[COOKIE]
    assert second != first
    old = client(ws)
    hold(old, first)
    assert old.get("/me").status_code == 303  # the one it held has ended


def test_signing_out_ends_the_session_on_the_server(ws: Workspace, people: People) -> None:
    browser = client(ws, people.anna)
    kept = browser.cookies[COOKIE]
    reply = browser.post("/signout")
    assert reply.headers["location"] == "/signin"
    thief = client(ws)
    hold(thief, kept)
    assert thief.get("/me").headers["location"] == "/signin?next=/me"
    assert browser.get("/signout").status_code == 405  # a link or an image must not sign anybody out


def test_revocation_and_roles_hold_from_the_next_request_on(ws: Workspace, people: People) -> None:
    browser, robot = client(ws, people.anna), script(ws, people.anna)
    assert browser.get("/me").status_code == robot.get("/api/v1/me").status_code == 200
    set_role(ws, people.anna.id, "adjudicator")
    assert robot.get("/api/v1/me").json()["role"] == "adjudicator"
    revoke(ws, people.anna.id)
    assert browser.get("/me").status_code == 303
    assert robot.get("/api/v1/me").status_code == 401


def test_wrong_passwords_are_counted_in_the_database(ws: Workspace, people: People) -> None:
    browser = client(ws)
    for _ in range(FREE_TRIES):
        reply = sign_in_as(browser, "Anna", "wrong-password-here")
        assert reply.status_code == 403
        assert 'value="Anna"' in reply.text  # what was typed is kept
        assert "wrong-password-here" not in reply.text
    restarted = client(ws)
    reply = sign_in_as(restarted, " aNNa ", PASSWORD)
    assert reply.status_code == 429
    assert "set-cookie" not in reply.headers
    assert "Try again in" in reply.text
    assert int(reply.headers["retry-after"]) == 10
    assert sign_in_as(client(ws), people.ben.name).status_code == 303  # others are not locked out


def test_the_owner_s_browser_does_not_wait_for_a_guesser_at_the_same_address(ws: Workspace, people: People) -> None:
    own = client(ws)
    first = sign_in_as(own, "Anna")
    device = cookies_of(first)[f"{COOKIE}_device"]
    assert device["httponly"]
    assert len(device.value) >= 43  # 256 bits
    kept = own.cookies[f"{COOKIE}_device"]
    own.post("/signout")
    assert own.cookies[f"{COOKIE}_device"] == kept  # it stays when one signs out, and opens nothing by itself
    assert own.get("/me").status_code == 303
    for _ in range(FREE_TRIES):
        sign_in_as(client(ws), "Anna", "wrong-password-here")
    assert sign_in_as(client(ws), "Anna").status_code == 429
    assert sign_in_as(own, "Anna").status_code == 303


@pytest.mark.parametrize("path", ["/signin", "/me/password", "/invite/guess"])
def test_every_page_that_makes_one_wait_says_how_long(ws: Workspace, people: People, path: str) -> None:
    browser = client(ws, people.anna if path == "/me/password" else None)
    body = {"name": "Anna", "password": "wrong-password-here", "old": "wrong-password-here", "new": PASSWORD}
    replies = [browser.post(path, data=body) for _ in range(INVITE_TRIES + 1)]
    assert {reply.status_code for reply in replies[:-1]} <= {403, 429}
    assert replies[-1].status_code == 429
    assert 0 < int(replies[-1].headers["retry-after"]) <= 900


def test_somebody_let_in_again_signs_in_anew(ws: Workspace, people: People) -> None:
    browser = client(ws)
    sign_in_as(browser, "Anna")
    lead = client(ws, people.lead)
    lead.post(f"/lead/people/{people.anna.id}/revoke")
    assert "Let in again" in lead.get("/lead/people").text
    assert sign_in_as(client(ws), "Anna").status_code == 403
    lead.post(f"/lead/people/{people.anna.id}/reinstate")
    assert browser.get("/me").status_code == 303  # the former session stays dead
    assert sign_in_as(browser, "Anna").status_code == 303
    assert browser.get("/me").status_code == 200
    robot = script(ws, people.lead)
    assert robot.post(f"/api/v1/accounts/{people.anna.id}/revoke").status_code == 204
    assert browser.get("/me").status_code == 303
    assert robot.post(f"/api/v1/accounts/{people.anna.id}/reinstate").status_code == 204
    assert sign_in_as(browser, "Anna").status_code == 303
    assert robot.post(f"/api/v1/accounts/{people.lead.id}/revoke").status_code == 403
    states = {each["name"]: each["state"] for each in robot.get("/api/v1/accounts").json()}
    assert states["Anna"] == "active"


def test_unknown_names_and_wrong_passwords_are_told_alike(ws: Workspace, people: People) -> None:
    def said(name: str) -> tuple[int, str]:
        reply = sign_in_as(client(ws), name, "wrong-password-here")
        return reply.status_code, reply.text.replace(name, "")

    assert said("Anna") == said("Nobody")


def test_an_invitation_makes_one_account(ws: Workspace, people: People) -> None:
    _, secret = create_invite(ws, "labeler", by=people.lead.id)
    browser = client(ws)
    for _ in range(3):  # programs that preview links open it too
        assert browser.get(f"/invite/{secret}").status_code == 200
    short = browser.post(f"/invite/{secret}", data={"name": "Cleo", "password": "short"})
    assert short.status_code == 422
    assert 'value="Cleo"' in short.text
    taken = browser.post(f"/invite/{secret}", data={"name": "ANNA", "password": PASSWORD})
    assert taken.status_code == 422
    reply = browser.post(f"/invite/{secret}", data={"name": "Cleo", "password": PASSWORD})
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    assert "Cleo" in browser.get("/me").text
    again = client(ws).post(f"/invite/{secret}", data={"name": "Dora", "password": PASSWORD})
    assert again.status_code == 403
    assert "was used already" in again.text
    reopened = client(ws).get(f"/invite/{secret}")  # the next day, by the same link
    assert reopened.status_code == 403
    assert "sign in with the name and password chosen then" in reopened.text.lower()
    assert 'href="/signin"' in reopened.text
    assert "<form" not in reopened.text
    assert "To your tasks" in client(ws, people.anna).get(f"/invite/{secret}").text
    assert [each.name for each in accounts(ws)][-1] == "Cleo"


def test_the_first_page_leads_back_to_what_one_judged(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2, 2))
    anna, done = client(ws, people.anna), f'href="/c/{campaign.id}/done"'
    assert done not in anna.get("/").text
    send(ws, next_turn(ws, campaign.id, people.anna.labeler_id))  # type: ignore[arg-type]
    assert done in (page := anna.get("/").text)
    assert "Continue" in page
    send(ws, next_turn(ws, campaign.id, people.anna.labeler_id))  # type: ignore[arg-type]
    assert "You have judged all of the 2 tasks." in (page := anna.get("/").text)
    assert "Continue" not in page
    assert "Continue with the tasks" not in anna.get(f"/c/{campaign.id}/done").text


def test_an_invitation_says_what_for(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2, 2))
    _, secret = create_invite(ws, "labeler", [campaign.id], by=people.lead.id)
    assert "You are invited to judge" in (page := client(ws).get(f"/invite/{secret}").text)
    assert campaign.name in page
    _, secret = create_invite(ws, "lead", by=people.lead.id)
    assert "makes an account for a lead" in client(ws).get(f"/invite/{secret}").text


@pytest.mark.parametrize("why", ["expired", "withdrawn", "not known"])
def test_other_invitations_open_nothing(
    ws: Workspace, people: People, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        if why == "expired":
            earlier.setattr("preflab.labelling.invites.utc_now", lambda: utc_now() - timedelta(hours=2))
        made, secret = create_invite(ws, "lead", hours=1)
    if why == "withdrawn":
        withdraw(ws, made.id)
    token = "guess" if why == "not known" else secret
    reply = client(ws).post(f"/invite/{token}", data={"name": "Mallory", "password": PASSWORD})
    assert reply.status_code == 403
    assert why in reply.text
    assert len(accounts(ws)) == 4


def test_guessing_invitations_is_limited_in_the_database(ws: Workspace) -> None:
    browser = client(ws)
    codes = [
        browser.post(f"/invite/guess{number}", data={"name": "M", "password": PASSWORD}).status_code
        for number in range(INVITE_TRIES + 1)
    ]
    assert codes == [403] * INVITE_TRIES + [429]
    _, secret = create_invite(ws, "labeler")
    assert client(ws).post(f"/invite/{secret}", data={"name": "M", "password": PASSWORD}).status_code == 303


def test_changing_the_password_ends_other_sessions(ws: Workspace, people: People) -> None:
    browser, other = client(ws, people.anna), client(ws, people.anna)
    wrong = browser.post("/me/password", data={"old": "not the old one", "new": "another good one"})
    assert wrong.status_code == 403
    reply = browser.post("/me/password", data={"old": PASSWORD, "new": "another good one"})
    assert "The password is changed" in reply.text
    assert browser.get("/me").status_code == 200
    assert other.get("/me").status_code == 303
    assert sign_in_as(client(ws), "Anna").status_code == 403
    assert sign_in_as(client(ws), "Anna", "another good one").status_code == 303


def test_a_token_is_shown_once_and_ends_at_once(ws: Workspace, people: People) -> None:
    browser = client(ws, people.anna)
    made = browser.post("/me/tokens", data={"name": "<b>nightly</b>"})
    secret = re.search(r'<code class="secret">([^<]+)</code>', made.text)
    assert secret is not None
    assert secret[1] not in browser.get("/me").text
    assert "&lt;b&gt;nightly" in made.text
    robot = client(ws)
    headers = {"Authorization": f"Bearer {secret[1]}"}
    assert robot.get("/api/v1/me", headers=headers).json()["name"] == "Anna"
    browser.post(f"/me/tokens/{tokens(ws, people.anna.id)[0].id}/revoke")
    assert robot.get("/api/v1/me", headers=headers).status_code == 401


def test_nobody_ends_the_tokens_of_others(ws: Workspace, people: People) -> None:
    browser = client(ws, people.anna)
    browser.post("/me/tokens", data={"name": "mine"})
    token_id = tokens(ws, people.anna.id)[0].id
    assert client(ws, people.ben).post(f"/me/tokens/{token_id}/revoke").status_code == 404
    assert tokens(ws, people.anna.id)[0].revoked_at is None


@pytest.mark.parametrize(
    "given", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
@pytest.mark.parametrize("path", ["/me/password", "/me/tokens", "/signout", "/signin", "/invite/x"])
def test_forged_changes_do_nothing(ws: Workspace, people: People, given: dict[str, str], path: str) -> None:
    browser = client(ws, people.anna)
    body = {"name": "Anna", "password": PASSWORD, "old": PASSWORD, "new": "another good one"}
    reply = browser.post(path, data=body, headers=given)
    assert reply.status_code == 403
    assert "not sent from a page of this app" in reply.text
    assert browser.get("/me").status_code == 200
    assert not tokens(ws, people.anna.id)
    assert sign_in_as(client(ws), "Anna").status_code == 303


def test_a_change_with_a_cookie_says_where_it_comes_from(ws: Workspace, people: People) -> None:
    browser = client(ws, people.anna)
    del browser.headers["Origin"]
    assert browser.post("/me/tokens", data={"name": "x"}).status_code == 403
    same = {"Sec-Fetch-Site": "same-origin"}
    assert browser.post("/me/tokens", data={"name": "x"}, headers=same).status_code == 200


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/c/one?x=1", "/c/one?x=1"),
        ("", "/"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\..\\b", "/"),
        ("javascript:alert(1)", "/"),
        ("/\nLocation: x", "/"),
        ("c/one", "/"),
        ("http:///evil.example", "/"),
        ("//[half", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(ws: Workspace, people: People, target: str, leads_to: str) -> None:
    assert own_path(target) == leads_to
    reply = sign_in_as(client(ws), "Anna", next=target)
    assert reply.headers["location"] == leads_to


def test_what_was_sent_after_the_session_ended_is_kept(ws: Workspace, people: People) -> None:
    browser = client(ws)
    reply = browser.post("/me/tokens", data={"name": 'typed <i>"for an hour"'})
    assert reply.status_code == 401
    assert 'name="name" value="typed &lt;i&gt;&#34;for an hour&#34;"' in reply.text
    assert 'action="/me/tokens"' in reply.text
    assert OWN not in reply.text
