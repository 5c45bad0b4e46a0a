"""Who judges where: people let in and taken off, campaigns open to more, later rounds, joining by an invitation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from labelling_world import make_campaign, put_groups, put_labelers, send, workspace_on
from preflab.labelling import passwords
from preflab.labelling.accounts import Account, account, create_account, erase, reinstate, revoke, set_everywhere
from preflab.labelling.assignment import next_turn, turn
from preflab.labelling.audit import events
from preflab.labelling.campaign_names import free_name, handle_of
from preflab.labelling.campaigns import campaign_view, change_options, create_campaign, list_campaigns
from preflab.labelling.errors import Invalid, NotAllowed, NotFound, SignInFailed
from preflab.labelling.invites import create_invite, invites, join_invite, use_invite
from preflab.labelling.members import let_in, may_judge, may_settle, people_of, place_in, take_off
from preflab.labelling.options import CampaignOptions
from preflab.labelling.sessions import account_of_session, account_of_token, create_token, open_session
from preflab.labelling.signing_in import sign_in
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


def found_by(ws: Workspace, person: Account) -> set[str]:
    """Names of the campaigns on somebody's first page, each of which really gives a task, and no other does."""
    found = {view.campaign.id for view in list_campaigns(ws, person.labeler_id)}
    for view in list_campaigns(ws):
        assert campaign_view(ws, view.campaign.id, account(ws, person.id)).is_in == (view.campaign.id in found)
        if view.campaign.id in found:
            assert next_turn(ws, view.campaign.id, person.labeler_id) is not None
        else:
            with pytest.raises(NotAllowed, match="other labelers"):
                next_turn(ws, view.campaign.id, person.labeler_id)
    return {view.campaign.name for view in list_campaigns(ws, person.labeler_id)}


@pytest.mark.parametrize(
    ("open_to", "everywhere", "place", "judges", "settles"),
    [
        ("everybody", True, None, True, True),
        ("everybody", False, None, True, True),
        ("invited", True, None, True, True),
        ("invited", False, None, False, False),
        ("named", True, None, False, True),  # a campaign for named people limits who judges, not who settles
        ("named", False, None, False, False),
        ("everybody", True, "out", False, False),
        ("invited", True, "out", False, False),
        ("named", False, "in", True, True),
        ("invited", False, "in", True, True),
        ("everybody", True, "settles", False, True),
        ("named", False, "settles", False, True),
    ],
)
def test_one_rule_says_who_judges_and_who_settles(
    open_to: str, everywhere: bool, place: str | None, judges: bool, settles: bool
) -> None:
    assert may_judge(open_to, everywhere=everywhere, place=place) is judges  # type: ignore[arg-type]
    assert may_settle(open_to, everywhere=everywhere, place=place) is settles  # type: ignore[arg-type]


def test_somebody_invited_to_one_campaign_is_let_into_the_next(ws: Workspace) -> None:
    support = make_campaign(ws, 2, overlap=9, name="support")
    _, secret = create_invite(ws, "labeler", [support.id])
    ann = use_invite(ws, secret, "Ann", PASSWORD)
    second = make_campaign(ws, 2, overlap=9, name="second")
    assert found_by(ws, ann) == {"support"}
    assert let_in(ws, second.id, [ann.labeler_id], by="account-lead") == 1
    assert let_in(ws, second.id, [ann.labeler_id]) == 0, "twice is once"
    assert found_by(ws, ann) == {"support", "second"}
    (event,) = events(ws, about=second.id)[:1]
    assert (event.actor, event.what, event.new) == ("account-lead", "person let in", {"person": ann.labeler_id})


def test_everybody_with_an_account_means_those_of_later_too(ws: Workspace) -> None:
    first = make_campaign(ws, 2, overlap=9, name="first")
    _, secret = create_invite(ws, "labeler", [first.id])
    ann = use_invite(ws, secret, "Ann", PASSWORD)
    make_campaign(ws, 2, overlap=9, name="for all", open_to="everybody")
    _, later = create_invite(ws, "labeler", [first.id])
    bob = use_invite(ws, later, "Bob", PASSWORD)
    assert found_by(ws, ann) == found_by(ws, bob) == {"first", "for all"}


def test_an_invitation_to_all_campaigns_holds_for_those_made_later(ws: Workspace) -> None:
    _, secret = create_invite(ws, "labeler")
    ann = use_invite(ws, secret, "Ann", PASSWORD)
    made = make_campaign(ws, 2, overlap=9, name="later")
    named = make_campaign(ws, 2, overlap=9, name="named", open_to="named")
    assert found_by(ws, ann) == {"later"}
    set_everywhere(ws, ann.id, False)
    assert found_by(ws, ann) == set()
    let_in(ws, named.id, [ann.labeler_id])
    change_options(ws, made.id, 1, {"open_to": "everybody"})
    assert found_by(ws, ann) == {"later", "named"}


def test_who_is_taken_off_stays_off_and_loses_nothing(ws: Workspace) -> None:
    campaign = make_campaign(ws, 3, overlap=1, open_to="everybody")
    ann = create_account(ws, "Ann", "labeler")
    earlier = next_turn(ws, campaign.id, ann.labeler_id)
    assert earlier is not None
    send(ws, earlier)
    begun = next_turn(ws, campaign.id, ann.labeler_id)
    assert begun is not None
    take_off(ws, campaign.id, ann.labeler_id, by="account-lead")
    assert found_by(ws, ann) == set()
    assert send(ws, begun).surplus is True
    assert len(ws.judgments(campaign_id=campaign.id)) == 2
    assert turn(ws, earlier.task.id, ann.labeler_id).revision == 1
    let_in(ws, campaign.id, [ann.labeler_id])
    assert found_by(ws, ann) == {"kindness"}
    assert [event.what for event in events(ws, about=campaign.id)][:2] == ["person let in", "person taken off"]


def test_people_who_cannot_be_let_in_are_refused_by_name(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1)
    create_account(ws, "Lead", "lead")
    ann = create_account(ws, "Ann", "labeler")
    with pytest.raises(NotFound, match="labeler-none"):
        let_in(ws, campaign.id, ["labeler-none"])
    with pytest.raises(NotFound, match="campaign-none"):
        let_in(ws, "campaign-none", [ann.labeler_id])
    with pytest.raises(Invalid, match="not an adjudicator"):
        take_off(ws, campaign.id, ann.labeler_id, settles=True)
    revoke(ws, ann.id)
    with pytest.raises(NotAllowed, match="has ended"):
        let_in(ws, campaign.id, [ann.labeler_id])
    with pytest.raises(Invalid, match="labelers"):
        change_options(ws, campaign.id, 1, {"labelers": [ann.labeler_id]})


def test_the_list_of_people_says_who_judges(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1)
    (simulated,) = put_labelers(ws, 1)
    create_account(ws, "Lead", "lead")
    everywhere, gone = create_account(ws, "Cy", "labeler"), create_account(ws, "Dee", "labeler")
    only = create_account(ws, "Bo", "labeler", everywhere=False)
    off = create_account(ws, "Ann", "labeler")
    take_off(ws, campaign.id, off.labeler_id)
    let_in(ws, campaign.id, [simulated])
    erase(ws, gone.id)
    found = [(each.name, each.judges, each.can_come, each.place) for each in people_of(ws, campaign.id)]
    assert found == [
        ("Cy", True, True, None),
        ("Lead", True, True, None),
        ("labeler 0", True, False, "in"),
        ("Ann", False, False, "out"),
        ("Bo", False, False, None),
    ]
    assert (everywhere.everywhere, only.everywhere) == (True, False)


def test_a_later_round_goes_to_the_people_of_the_first(ws: Workspace) -> None:
    first = make_campaign(ws, 2, overlap=9, name="labels", open_to="named")
    ann, bob, cy = (create_account(ws, name, "labeler") for name in ("Ann", "Bob", "Cy"))
    let_in(ws, first.id, [ann.labeler_id, bob.labeler_id])
    options = CampaignOptions(name="labels@2", overlap=9)
    second = create_campaign(ws, options, put_groups(ws, 4)[2:], follows=first.id)
    assert campaign_view(ws, second.id).options.open_to == "named"
    assert found_by(ws, ann) == found_by(ws, bob) == {"labels", "labels@2"}
    assert found_by(ws, cy) == set()
    third = create_campaign(ws, CampaignOptions(name="labels@3", overlap=9), put_groups(ws, 6)[4:], follows=second.id)
    take_off(ws, third.id, bob.labeler_id)
    let_in(ws, first.id, [cy.labeler_id, bob.labeler_id])  # who comes late comes to the rounds that are there already
    assert found_by(ws, cy) == {"labels", "labels@2", "labels@3"}
    assert found_by(ws, bob) == {"labels", "labels@2"}, "a lead's decision about one round stays"
    create_campaign(ws, options, [], campaign_id=second.id, follows=first.id)
    take_off(ws, second.id, ann.labeler_id)
    create_campaign(ws, options, [], campaign_id=second.id, follows=first.id)
    assert found_by(ws, ann) == {"labels"}, "taken over once, not at every run"


def rounds_of(ws: Workspace, open_to: str, *people: str) -> list[str]:
    """Three rounds of one stage, the last made after these people joined the first."""
    first = make_campaign(ws, 2, overlap=9, name="labels", open_to=open_to)
    rounds = [first.id]
    for number in (2, 3):
        if number == 3:
            let_in(ws, first.id, people)
        options = CampaignOptions(name=f"labels@{number}", overlap=9)
        groups = put_groups(ws, 2 * number)[-2:]
        rounds.append(create_campaign(ws, options, groups, follows=rounds[-1]).id)
    return rounds


def test_who_is_taken_off_the_first_round_is_taken_off_later_ones(ws: Workspace) -> None:
    ann, bob = (create_account(ws, name, "labeler", everywhere=False) for name in ("Ann", "Bob"))
    rounds = rounds_of(ws, "named", ann.labeler_id, bob.labeler_id)
    assert found_by(ws, ann) == {"labels", "labels@2", "labels@3"}
    take_off(ws, rounds[0], ann.labeler_id, by="account-lead")
    assert found_by(ws, ann) == set()
    assert found_by(ws, bob) == {"labels", "labels@2", "labels@3"}
    for each in rounds:
        event = events(ws, about=each)[0]
        assert (event.actor, event.what, event.new) == ("account-lead", "person taken off", {"person": ann.labeler_id})
    let_in(ws, rounds[0], [ann.labeler_id])
    assert found_by(ws, ann) == {"labels", "labels@2", "labels@3"}, "and back"
    take_off(ws, rounds[1], ann.labeler_id)
    assert found_by(ws, ann) == {"labels"}, "earlier rounds stay"


def test_who_judges_in_a_round_for_everybody_is_taken_off_later_ones_too(ws: Workspace) -> None:
    ann = create_account(ws, "Ann", "adjudicator")
    rounds = rounds_of(ws, "everybody")
    take_off(ws, rounds[0], ann.labeler_id, settles=True)
    assert [place_in(ws, each, ann.labeler_id) for each in rounds] == ["settles"] * 3
    assert found_by(ws, ann) == set()


def test_what_was_decided_in_a_later_round_by_itself_stays(ws: Workspace) -> None:
    ann = create_account(ws, "Ann", "labeler", everywhere=False)
    rounds = rounds_of(ws, "named", ann.labeler_id)
    take_off(ws, rounds[1], ann.labeler_id)
    let_in(ws, rounds[1], [ann.labeler_id])
    take_off(ws, rounds[0], ann.labeler_id)
    assert found_by(ws, ann) == {"labels@2", "labels@3"}, "let into round 2 by itself, and with it into 3"
    take_off(ws, rounds[1], ann.labeler_id)
    assert found_by(ws, ann) == set()


def test_a_change_of_who_may_judge_does_not_go_on_to_later_rounds(ws: Workspace) -> None:
    ann = create_account(ws, "Ann", "labeler")
    rounds = rounds_of(ws, "named")
    change_options(ws, rounds[0], 1, {"open_to": "everybody"})
    assert found_by(ws, ann) == {"labels"}


def test_an_invitation_lets_somebody_who_has_an_account_join(ws: Workspace) -> None:
    one, two = (make_campaign(ws, 2, overlap=9, name=name) for name in ("one", "two"))
    ann, bob = (use_invite(ws, create_invite(ws, "labeler", [one.id])[1], name, PASSWORD) for name in ("Ann", "Bob"))
    _, secret = create_invite(ws, "adjudicator", [one.id, two.id])
    assert join_invite(ws, secret, ann) == (one.id, two.id)
    assert found_by(ws, ann) == {"one", "two"}
    assert account(ws, ann.id).role == "labeler", "roles never rise by joining"
    made = invites(ws)[0]
    assert (made.state, made.used_by) == ("used", ann.id)
    assert join_invite(ws, secret, ann) == (one.id, two.id), "joining twice is harmless"
    with pytest.raises(NotAllowed, match="used already"):
        join_invite(ws, secret, bob)
    with pytest.raises(NotAllowed, match="used already"):
        use_invite(ws, secret, "Cy", PASSWORD)
    assert found_by(ws, bob) == {"one"}


def test_a_link_that_opens_nothing_new_is_left_for_somebody_else(ws: Workspace) -> None:
    campaign = make_campaign(ws, 2, overlap=9)
    ann = create_account(ws, "Ann", "labeler")
    for opens in ([campaign.id], []):
        _, secret = create_invite(ws, "labeler", opens)
        join_invite(ws, secret, ann)
        assert invites(ws)[0].state == "open"
        assert use_invite(ws, secret, f"for {len(opens)}", PASSWORD).state == "active"


def test_joining_an_invitation_to_all_campaigns_opens_all(ws: Workspace) -> None:
    make_campaign(ws, 2, overlap=9)
    ann = create_account(ws, "Ann", "labeler", everywhere=False)
    assert found_by(ws, ann) == set()
    join_invite(ws, create_invite(ws, "labeler")[1], ann)
    assert found_by(ws, account(ws, ann.id)) == {"kindness"}


def test_an_old_link_does_not_undo_that_somebody_was_taken_off(ws: Workspace) -> None:
    campaign = make_campaign(ws, 2, overlap=9)
    ann = create_account(ws, "Ann", "labeler", everywhere=False)
    _, old = create_invite(ws, "labeler", [campaign.id])
    let_in(ws, campaign.id, [ann.labeler_id])
    take_off(ws, campaign.id, ann.labeler_id)
    with pytest.raises(NotAllowed, match="taken off"):
        join_invite(ws, old, ann)
    assert found_by(ws, ann) == set()
    join_invite(ws, create_invite(ws, "labeler", [campaign.id])[1], ann)
    assert found_by(ws, ann) == {"kindness"}


def test_an_old_link_to_all_campaigns_does_not_undo_that_somebody_was_kept_to_single_ones(ws: Workspace) -> None:
    make_campaign(ws, 2, overlap=9)
    lead, ann = create_account(ws, "Lead", "lead"), create_account(ws, "Ann", "labeler")
    _, old = create_invite(ws, "labeler")
    set_everywhere(ws, ann.id, False, by=lead.id)
    with pytest.raises(NotAllowed, match="one by one since the link was made"):
        join_invite(ws, old, account(ws, ann.id))
    assert found_by(ws, account(ws, ann.id)) == set()
    assert invites(ws)[0].state == "open", "still there for somebody else"
    join_invite(ws, create_invite(ws, "labeler")[1], account(ws, ann.id))
    assert found_by(ws, account(ws, ann.id)) == {"kindness"}
    set_everywhere(ws, ann.id, False, by=lead.id)
    set_everywhere(ws, ann.id, True, by=lead.id)
    join_invite(ws, old, account(ws, ann.id))


def test_an_invitation_for_another_kind_of_account_is_not_joined(ws: Workspace) -> None:
    create_account(ws, "Lead", "lead")
    ann, robot = create_account(ws, "Ann", "labeler"), create_account(ws, "Hal", "ai")
    for role, who in [("lead", ann), ("ai", ann), ("labeler", robot), ("lead", robot)]:
        _, secret = create_invite(ws, role)  # type: ignore[arg-type]
        with pytest.raises(NotAllowed):
            join_invite(ws, secret, who)
        assert invites(ws)[0].state == "open"
    assert [account(ws, each.id).role for each in (ann, robot)] == ["labeler", "ai"]


def test_a_revoked_person_is_let_in_again_under_the_same_name(ws: Workspace) -> None:
    campaign = make_campaign(ws, 2, overlap=9)
    create_account(ws, "Lead", "lead")
    ann = create_account(ws, "Ann", "labeler", PASSWORD, everywhere=False)
    let_in(ws, campaign.id, [ann.labeler_id])
    session, token = open_session(ws, ann.id), create_token(ws, ann.id, "mine")
    shown = next_turn(ws, campaign.id, ann.labeler_id)
    assert shown is not None
    send(ws, shown)
    revoke(ws, ann.id)
    with pytest.raises(SignInFailed):
        sign_in(ws, "Ann", PASSWORD)
    reinstate(ws, ann.id, by="account-lead")
    reinstate(ws, ann.id)
    assert sign_in(ws, "Ann", PASSWORD) == account(ws, ann.id) == ann
    assert account_of_session(ws, session) is None
    assert account_of_token(ws, token) is None
    assert [judgment.labeler_id for judgment in ws.judgments()] == [ann.labeler_id]
    assert found_by(ws, ann) == {"kindness"}
    changes = [event.what for event in events(ws, about=ann.id) if event.what.startswith("account ")]
    assert changes == ["account let in again", "account revoked", "account created"]
    erase(ws, ann.id)
    for act in (reinstate, revoke):
        with pytest.raises(NotAllowed, match="erased"):
            act(ws, ann.id)


@pytest.mark.parametrize("name", ["two\nlines", "a\x07bell", "a\u2028line"])
def test_a_campaign_has_a_name_of_one_line(ws: Workspace, name: str) -> None:
    campaign = make_campaign(ws, 1)
    with pytest.raises(Invalid, match="one line without control characters"):
        create_campaign(ws, CampaignOptions(name=name), [])
    with pytest.raises(Invalid, match="one line without control characters"):
        change_options(ws, campaign.id, 1, {"name": name})


def test_nobody_unknown_is_confirmed_as_reversed(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1)
    (who,) = put_labelers(ws, 1)
    with pytest.raises(Invalid, match="confirmed_reversed: no labeler 'nobody'"):
        change_options(ws, campaign.id, 1, {"confirmed_reversed": [who, "nobody"]})
    assert change_options(ws, campaign.id, 1, {"confirmed_reversed": [who]}).confirmed_reversed == (who,)


def test_two_campaigns_never_get_one_name(ws: Workspace) -> None:
    first = make_campaign(ws, 1, name="Kindness")
    second = make_campaign(ws, 1, name="other")
    with pytest.raises(Invalid, match="a name with at least one visible character"):
        create_campaign(ws, CampaignOptions(name="\u200b \n"), [])
    for name in ("Kindness", " kindness ", "\uff2bindness"):
        with pytest.raises(Invalid, match=f"taken by the campaign 'Kindness', id {first.id}"):
            make_campaign(ws, 1, name=name)
        with pytest.raises(Invalid, match=first.id):
            change_options(ws, second.id, 1, {"name": name})
    assert change_options(ws, first.id, 1, {"name": "kindness"}).name == "kindness", "its own name in other letters"
    assert [view.campaign.name for view in list_campaigns(ws)].count("kindness") == 1
    assert (free_name(ws, "Kindness"), free_name(ws, "new")) == ("Kindness (2)", "new")
    assert handle_of(ws, first.id) == "kindness"
