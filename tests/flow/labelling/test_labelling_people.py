"""Accounts, sessions, tokens, invitations, rate limits and the audit log; on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import delete, update

from labelling_world import make_campaign, put_labelers, rows, send, workspace_on
from preflab.errors import PreflabError
from preflab.labelling import clock, invites, passwords, rates, sessions, signing_in
from preflab.labelling.accounts import (
    account,
    accounts,
    create_account,
    erase,
    has_lead_password,
    revoke,
    set_password,
    set_role,
)
from preflab.labelling.assignment import next_turn
from preflab.labelling.audit import events, note_event
from preflab.labelling.campaigns import (
    campaign_view,
    change_options,
    guidelines,
    list_campaigns,
    must_read,
    new_guideline,
    read_guideline,
    set_state,
)
from preflab.labelling.errors import Invalid, LabellingError, NotAllowed, NotFound, SignInFailed, Stale, TooMany
from preflab.labelling.invites import create_invite, use_invite, withdraw
from preflab.labelling.rates import check_rate
from preflab.labelling.sessions import (
    account_of_session,
    account_of_token,
    close_session,
    create_token,
    open_session,
    revoke_token,
    tokens,
)
from preflab.labelling.signing_in import sign_in
from preflab.labelling.tables import EVENTS
from preflab.store.database import writing
from preflab.store.workspace import Workspace

PASSWORD = "correct horse"


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with workspace_on(request.param, tmp_path, url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same argon2id, with the least work it allows."""
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._dummy_hash.cache_clear()


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return clock.utc_now() + self.ahead


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of sessions, invitations and rate limits."""
    ticking = Clock()
    for module in (sessions, invites, rates, signing_in):
        monkeypatch.setattr(module, "utc_now", ticking)
    return ticking


def whole_database(ws: Workspace) -> str:
    """Every value of every table as one text."""
    names = [row[0] for row in rows(ws, TABLES[ws.engine.dialect.name])]
    return "\n".join(str(row) for name in names for row in rows(ws, f'SELECT * FROM "{name}"'))


TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
}


def test_an_account_signs_in_by_name_and_password(ws: Workspace) -> None:
    assert not has_lead_password(ws)
    made = create_account(ws, "  Ann Lee ", "lead", PASSWORD, email="ann@example.org")
    assert has_lead_password(ws)
    assert (made.name, made.role, made.state) == ("Ann Lee", "lead", "active")
    assert sign_in(ws, "ann  LEE", PASSWORD) == made == account(ws, made.id)
    assert ws.labelers([made.labeler_id])[0].name == "labeler 1", "a pseudonym"
    for name, password in [("Ann Lee", "wrong horse!"), ("Bob", PASSWORD), ("", "")]:
        with pytest.raises(SignInFailed, match="name or password is wrong"):
            sign_in(ws, name, password)
    without = create_account(ws, "Bob", "labeler")
    for password in ("", "nobody has this password"):
        with pytest.raises(SignInFailed):
            sign_in(ws, "Bob", password)
    assert not without.has_password
    assert PASSWORD not in whole_database(ws)


def test_bad_accounts_are_refused(ws: Workspace) -> None:
    create_account(ws, "Ann", "labeler", PASSWORD)
    for name, role, password, found in [
        ("ANN", "labeler", PASSWORD, "taken"),
        ("\uff21nn", "labeler", PASSWORD, "taken"),
        (" ", "labeler", PASSWORD, "name"),
        ("a\nb\x07", "labeler", PASSWORD, "name"),
        ("x" * 201, "labeler", PASSWORD, "name"),
        ("Bob", "king", PASSWORD, "role"),
        ("Bob", "labeler", "short", "password of 5"),
    ]:
        with pytest.raises(Invalid, match=found):
            create_account(ws, name, role, password)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        account(ws, "account-none")
    assert len(accounts(ws)) == 1


def test_signing_in_rightly_is_not_counted(ws: Workspace) -> None:
    create_account(ws, "Ann", "labeler", PASSWORD)
    for _ in range(11):
        sign_in(ws, "Ann", PASSWORD, "10.0.0.1")


def test_a_rate_holds_however_many_try_at_once(ws: Workspace) -> None:
    def once(_: int) -> bool:
        try:
            with writing(ws.engine) as connection:
                check_rate(connection, "test", "key", 3, 60)
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(once, range(16))) == 3


def test_sessions_end_by_time_sign_out_and_revocation(ws: Workspace, ahead: Clock) -> None:
    create_account(ws, "Lead", "lead", PASSWORD)
    made = create_account(ws, "Ann", "labeler", PASSWORD)
    first, second = open_session(ws, made.id), open_session(ws, made.id)
    assert first != second
    assert len(first) >= 43, "256 bits"
    assert first not in whole_database(ws), "only its hash is stored"
    assert account_of_session(ws, first) == made
    assert account_of_session(ws, "x") is None
    close_session(ws, first)
    assert account_of_session(ws, first) is None
    ahead.ahead = timedelta(days=29)
    assert account_of_session(ws, second) == made
    ahead.ahead = timedelta(days=58)
    assert account_of_session(ws, second) == made, "30 days from the last use"
    ahead.ahead = timedelta(days=89)
    assert account_of_session(ws, second) is None
    third = open_session(ws, made.id)
    revoke(ws, made.id)
    assert account_of_session(ws, third) is None
    with pytest.raises(NotAllowed):
        open_session(ws, made.id)
    with pytest.raises(SignInFailed):
        sign_in(ws, "Ann", PASSWORD)


def test_a_new_password_ends_the_sessions(ws: Workspace) -> None:
    made = create_account(ws, "Ann", "labeler", PASSWORD)
    secret = open_session(ws, made.id)
    set_password(ws, made.id, "another horse", by=made.id)
    assert account_of_session(ws, secret) is None
    with pytest.raises(SignInFailed):
        sign_in(ws, "Ann", PASSWORD)
    assert sign_in(ws, "Ann", "another horse").id == made.id


def test_tokens_are_shown_once_and_revoked_at_once(ws: Workspace) -> None:
    made, other = create_account(ws, "Ann", "lead"), create_account(ws, "Bob", "labeler")
    secret = create_token(ws, made.id, "nightly export", by=made.id)
    assert account_of_token(ws, secret) == made
    assert secret not in whole_database(ws)
    (token,) = tokens(ws, made.id)
    assert (token.name, token.revoked_at) == ("nightly export", None)
    assert token.last_used is not None
    with pytest.raises(NotFound):
        revoke_token(ws, other.id, token.id)
    revoke_token(ws, made.id, token.id, by=made.id)
    assert account_of_token(ws, secret) is None
    with pytest.raises(Invalid):
        create_token(ws, made.id, "  ")
    with pytest.raises(NotFound):
        create_token(ws, "account-none", "x")


def test_an_invitation_makes_one_account_once(ws: Workspace, ahead: Clock) -> None:
    invite, secret = create_invite(ws, "adjudicator", hours=2, by="account-lead")
    assert secret not in whole_database(ws)
    with pytest.raises(Invalid, match="password"):
        use_invite(ws, secret, "Ann", "short")
    made = use_invite(ws, secret, "Ann", PASSWORD)
    assert (made.role, made.state) == ("adjudicator", "active")
    assert sign_in(ws, "Ann", PASSWORD) == made
    with pytest.raises(NotAllowed, match="used already"):
        use_invite(ws, secret, "Bob", PASSWORD)
    assert (invites.invites(ws)[0].state, invites.invites(ws)[0].used_by) == ("used", made.id)
    with pytest.raises(NotAllowed, match="not known"):
        use_invite(ws, "guess", "Bob", PASSWORD)
    _, late = create_invite(ws, "labeler", hours=2)
    gone, closed = create_invite(ws, "labeler", hours=200)
    withdraw(ws, gone.id)
    with pytest.raises(NotFound):
        withdraw(ws, invite.id)
    ahead.ahead = timedelta(hours=3)
    for token, found in [(late, "expired"), (closed, "withdrawn")]:
        with pytest.raises(NotAllowed, match=found):
            use_invite(ws, token, "Bob", PASSWORD)
    assert len(accounts(ws)) == 1


def test_one_invitation_used_by_eight_at_once_makes_one_account(ws: Workspace) -> None:
    _, secret = create_invite(ws, "labeler")

    def use(number: int) -> bool:
        try:
            use_invite(ws, secret, f"name {number}", PASSWORD)
        except NotAllowed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(8))) == 1
    assert len(accounts(ws)) == 1


def test_an_invitation_to_one_campaign_opens_that_one_alone(ws: Workspace) -> None:
    (someone,) = put_labelers(ws, 1)
    closed_to_all, other = make_campaign(ws, 1, labelers=(someone,)), make_campaign(ws, 2)
    _, secret = create_invite(ws, "labeler", [closed_to_all.id])
    made = use_invite(ws, secret, "Ann", PASSWORD)
    assert [view.campaign.id for view in list_campaigns(ws, made.labeler_id)] == [closed_to_all.id]
    assert next_turn(ws, closed_to_all.id, made.labeler_id) is not None
    with pytest.raises(NotAllowed):
        next_turn(ws, other.id, made.labeler_id)
    with pytest.raises(NotFound):
        create_invite(ws, "labeler", ["campaign-none"])
    for hours in (0, -1, 1e9):
        with pytest.raises(Invalid):
            create_invite(ws, "labeler", hours=hours)


def test_guessing_invitations_is_slowed_down_and_an_open_one_is_never_refused_for_it(ws: Workspace) -> None:
    for number in range(51):
        with pytest.raises(TooMany if number == 50 else NotAllowed):
            use_invite(ws, "guess", "Ann", PASSWORD, "10.0.0.1")
    _, secret = create_invite(ws, "labeler")
    assert use_invite(ws, secret, "Ann", PASSWORD, "10.0.0.1").name == "Ann"


def test_an_open_link_is_tried_fifty_times_at_most(ws: Workspace) -> None:
    create_account(ws, "Ann", "labeler", PASSWORD)
    _, secret = create_invite(ws, "labeler")
    for number in range(51):
        with pytest.raises(TooMany if number == 50 else Invalid):
            use_invite(ws, secret, "Ann", PASSWORD, f"10.0.0.{number}")


def test_erasing_takes_the_person_and_leaves_the_judgments(ws: Workspace) -> None:
    lead = create_account(ws, "Lead", "lead", PASSWORD)
    made = create_account(ws, "Annabella Leroy", "labeler", PASSWORD, email="annabella@example.org", by=lead.id)
    secret, token = open_session(ws, made.id), create_token(ws, made.id, "mine")
    campaign = make_campaign(ws, 2)
    shown = next_turn(ws, campaign.id, made.labeler_id)
    assert shown is not None
    send(ws, shown)
    before = ws.judgments(all_revisions=True)
    next_turn(ws, campaign.id, made.labeler_id)
    erase(ws, made.id, by=lead.id)
    content = whole_database(ws).casefold()
    assert "annabella" not in content
    assert "leroy" not in content
    assert ws.judgments(all_revisions=True) == before
    assert ws.labelers([made.labeler_id])[0].name == "labeler 2"
    assert account(ws, made.id).state == "erased"
    assert account_of_session(ws, secret) is None
    assert account_of_token(ws, token) is None
    assert rows(ws, "SELECT sum(num_held) FROM task_states") == [(0,)]
    with pytest.raises(SignInFailed):
        sign_in(ws, "Annabella Leroy", PASSWORD)
    assert create_account(ws, "Annabella Leroy", "labeler").labeler_id != made.labeler_id, "the name is free again"


def test_the_only_lead_cannot_be_locked_out(ws: Workspace) -> None:
    lead = create_account(ws, "Lead", "lead", PASSWORD)
    for act in (lambda: revoke(ws, lead.id), lambda: erase(ws, lead.id), lambda: set_role(ws, lead.id, "labeler")):
        with pytest.raises(NotAllowed, match="only lead"):
            act()
    second = create_account(ws, "Second", "labeler", PASSWORD)
    set_role(ws, second.id, "lead", by=lead.id)
    revoke(ws, lead.id, by=second.id)
    assert account(ws, lead.id).state == "revoked"
    with pytest.raises(Invalid, match="AI"):
        set_role(ws, second.id, "ai")


def test_every_change_leaves_an_event_and_events_stay(ws: Workspace) -> None:
    lead = create_account(ws, "Zacharias", "lead", PASSWORD)
    made = create_account(ws, "Xanthippe", "labeler", by=lead.id)
    campaign = make_campaign(ws, 1)
    change_options(ws, campaign.id, 1, {"overlap": 5, "name": "new name"}, by=lead.id)
    set_state(ws, campaign.id, "paused", by=lead.id)
    new_guideline(ws, campaign.id, "Read again.", by=lead.id)
    set_role(ws, made.id, "adjudicator", by=lead.id)
    found = [(event.actor, event.what, event.old, event.new) for event in events(ws)][:5]
    assert found == [
        (lead.id, "role changed", {"role": "labeler"}, {"role": "adjudicator"}),
        (lead.id, "instructions changed", {"version": 1}, {"version": 2}),
        (lead.id, "state changed", {"state": "open"}, {"state": "paused"}),
        (lead.id, "options changed", {"overlap": 3, "name": "kindness"}, {"overlap": 5, "name": "new name"}),
        ("", "campaign created", None, {"num_tasks": 1, "way": "ranking", "overlap": 3}),
    ]
    everything = events(ws)
    assert events(ws, limit=2, before=everything[1].id) == everything[2:4]
    assert [event.what for event in events(ws, about=made.id)] == ["role changed", "account created"]
    written = json.dumps([[event.old, event.new] for event in everything]).casefold()
    assert "zacharias" not in written
    assert "xanthippe" not in written
    for statement in (update(EVENTS).values(actor="somebody else"), delete(EVENTS)):
        with pytest.raises(PreflabError, match="append-only"), writing(ws.engine) as connection:
            connection.execute(statement)
    assert events(ws) == everything


def test_a_change_that_fails_leaves_no_event(ws: Workspace) -> None:
    with writing(ws.engine) as connection:
        note_event(connection, "", "never happened", "x")
        connection.rollback()
    assert events(ws) == []


def test_options_change_by_revision_and_keep_the_meaning_of_answers(ws: Workspace) -> None:
    campaign = make_campaign(ws, 2)
    change_options(ws, campaign.id, 1, {"question": "Which is worse?", "polarity": -1})
    assert ws.campaigns([campaign.id])[0].polarity == -1, "the record goes with the options"
    with pytest.raises(Stale) as caught:
        change_options(ws, campaign.id, 1, {"overlap": 2})
    assert caught.value.current_revision == 2
    for changes, found in [({"colour": "red"}, "colour"), ({"overlap": 0}, "overlap"), ({"way": "likert"}, "criteria")]:
        with pytest.raises(Invalid, match=found):
            change_options(ws, campaign.id, 2, changes)
    shown = next_turn(ws, campaign.id, put_labelers(ws, 1)[0])
    assert shown is not None
    send(ws, shown)
    with pytest.raises(Invalid, match="judgments already"):
        change_options(ws, campaign.id, 2, {"polarity": 1})
    assert change_options(ws, campaign.id, 2, {"overlap": 2}).overlap == 2
    assert campaign_view(ws, campaign.id).revision == 3
    assert change_options(ws, campaign.id, 3, {"overlap": 2}).overlap == 2
    assert campaign_view(ws, campaign.id).revision == 3, "no change, no revision"


def test_instructions_are_read_before_the_first_task_and_when_they_change(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1)
    one, two = put_labelers(ws, 2)
    found = must_read(ws, campaign.id, one)
    assert found is not None
    assert (found.version, found.text) == (1, "Read first.")
    read_guideline(ws, campaign.id, one, 1)
    assert must_read(ws, campaign.id, one) is None
    assert must_read(ws, campaign.id, two) is not None
    new_guideline(ws, campaign.id, "Read this.")
    read_guideline(ws, campaign.id, one, 1)
    changed = must_read(ws, campaign.id, one)
    assert changed is not None
    assert (changed.version, changed.text) == (2, "Read this.")
    assert ws.campaigns([campaign.id])[0].guideline_version == 2
    assert [each.text for each in guidelines(ws, campaign.id)] == ["Read this.", "Read first."]
    with pytest.raises(NotFound):
        read_guideline(ws, campaign.id, one, 3)
    read_guideline(ws, campaign.id, one, 2)
    assert must_read(ws, campaign.id, one) is None
    new_guideline(ws, campaign.id, "  ")
    assert must_read(ws, campaign.id, one) is None, "nothing to read"


def test_passwords_are_hashed_with_enough_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    stored = passwords.hashed(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert stored != passwords.hashed(PASSWORD), "salted"
    assert passwords.fits(PASSWORD, stored)
    assert not passwords.fits(PASSWORD + " ", stored)
    assert not passwords.fits(PASSWORD, None)


def test_every_error_says_its_kind() -> None:
    kinds = {
        cls.__name__: cls.kind for cls in (LabellingError, Invalid, NotFound, NotAllowed, SignInFailed, Stale, TooMany)
    }
    assert kinds == {
        "LabellingError": "invalid",
        "Invalid": "invalid",
        "NotFound": "not_found",
        "NotAllowed": "not_allowed",
        "SignInFailed": "not_allowed",
        "Stale": "stale",
        "TooMany": "too_many",
    }
