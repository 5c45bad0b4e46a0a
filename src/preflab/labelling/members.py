"""Who may judge in a campaign: decisions about single people, and the option `open_to` for everybody else.

Both can change at any time and take effect with the next request. Submissions of somebody who was taken off are still
stored.

A later round of a campaign goes to the same people: letting somebody in or taking them off also applies to its later
rounds, except to a round for which a lead decided separately about this person. The option `open_to` is copied once,
when a later round is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, insert, select, update

from preflab.labelling.accounts import Account
from preflab.labelling.audit import note_event
from preflab.labelling.clock import stamp, utc_now
from preflab.labelling.errors import Invalid, NotAllowed, NotFound
from preflab.labelling.options import OpenTo
from preflab.labelling.tables import ACCOUNTS, CAMPAIGN_STATES, LABELERS, LATER_ROUNDS, MEMBERS
from preflab.records import LabelerKind
from preflab.store.database import reading, writing
from preflab.store.workspace import Workspace

Place = Literal["in", "settles", "out"]
"""A lead's decision about a person in a campaign; `settles`: an adjudicator who settles tasks but does not judge."""
Joined = Literal["joined", "in already", "taken off"]
EVENTS = {"in": "person let in", "settles": "person settles only", "out": "person taken off"}

# This statement is built once, since every request needs it.
PLACE = select(MEMBERS.c.place).where(
    MEMBERS.c.campaign_id == bindparam("of_campaign"), MEMBERS.c.labeler_id == bindparam("of_labeler")
)


@dataclass(frozen=True)
class Reach:
    """The parts of a labeler's access that do not depend on the options of a campaign."""

    everywhere: bool
    """May judge in all campaigns, including later ones, except those that are open to named people only."""
    places: Mapping[str, Place]
    """Campaign id → the decision about this labeler there."""


@dataclass(frozen=True)
class Member:
    """A person as the lead of a campaign sees them."""

    labeler_id: str
    kind: LabelerKind
    name: str
    """The name in the account; the pseudonym of a labeler without an account."""
    account_id: str
    """"" without an account."""
    role: str
    state: str
    """`active`, `revoked` or `erased`; "" without an account."""
    everywhere: bool
    place: Place | None
    judges: bool
    """May judge in this campaign, whatever the state of the account."""

    @property
    def can_come(self) -> bool:
        """May judge, and has an active account to sign in with."""
        return self.judges and self.state == "active"


def may_judge(open_to: OpenTo, *, everywhere: bool, place: Place | None) -> bool:
    """Whether a person may judge in a campaign: a decision about the person comes first, then the option `open_to`."""
    if place is not None:
        return place == "in"
    return open_to == "everybody" or (open_to == "invited" and everywhere)


def may_settle(open_to: OpenTo, *, everywhere: bool, place: Place | None) -> bool:
    """Whether an adjudicator may settle tasks; a campaign open to named people limits who judges, not who settles."""
    if place is not None:
        return place != "out"
    return everywhere or open_to == "everybody"


def reach_of(connection: Connection, labeler_id: str) -> Reach:
    """Where this labeler may judge; a labeler without an account (simulated, imported) may judge everywhere."""
    account = select(ACCOUNTS.c.everywhere).where(ACCOUNTS.c.labeler_id == labeler_id)
    places = select(MEMBERS.c.campaign_id, MEMBERS.c.place).where(MEMBERS.c.labeler_id == labeler_id)
    everywhere = connection.execute(account).scalar()
    return Reach(everywhere is not False, {row.campaign_id: row.place for row in connection.execute(places)})


def reaches(ws: Workspace, labeler_ids: Sequence[str]) -> dict[str, Reach]:
    """Labeler id → where this labeler may judge."""
    with reading(ws.engine) as connection:
        return {labeler_id: reach_of(connection, labeler_id) for labeler_id in labeler_ids}


def place_in(ws: Workspace, campaign_id: str, labeler_id: str) -> Place | None:
    """The decision about a labeler in a campaign; None if there is none."""
    with reading(ws.engine) as connection:
        return place_of(connection, campaign_id, labeler_id)


def place_of(connection: Connection, campaign_id: str, labeler_id: str) -> Place | None:
    """`place_in` inside the caller's transaction."""
    place: Place | None = connection.execute(PLACE, {"of_campaign": campaign_id, "of_labeler": labeler_id}).scalar()
    return place


def people_of(ws: Workspace, campaign_id: str) -> list[Member]:
    """Everybody with an account that is not erased or with a decision in this campaign; those who can judge come first.

    Raises:
        NotFound: no such campaign.
    """
    with reading(ws.engine) as connection:
        open_to = _open_to(connection, campaign_id)
        in_campaign = (MEMBERS.c.labeler_id == LABELERS.c.id) & (MEMBERS.c.campaign_id == campaign_id)
        columns = (LABELERS.c.id, LABELERS.c.kind, LABELERS.c.name.label("pseudonym"), MEMBERS.c.place)
        query = (
            select(*columns, ACCOUNTS.c.id.label("account_id"), ACCOUNTS.c.name, ACCOUNTS.c.role, ACCOUNTS.c.state)
            .add_columns(ACCOUNTS.c.everywhere)
            .select_from(LABELERS)
            .outerjoin(ACCOUNTS, ACCOUNTS.c.labeler_id == LABELERS.c.id)
            .outerjoin(MEMBERS, in_campaign)
            .where(MEMBERS.c.place.is_not(None) | (ACCOUNTS.c.state != "erased"))
        )
        rows = connection.execute(query).mappings().all()
    members = [
        Member(
            labeler_id=row["id"], kind=row["kind"], name=row["name"] or row["pseudonym"],
            account_id=row["account_id"] or "", role=row["role"] or "", state=row["state"] or "",
            everywhere=row["everywhere"] is not False, place=row["place"],
            judges=may_judge(open_to, everywhere=row["everywhere"] is not False, place=row["place"]),
        )
        for row in rows
    ]  # fmt: skip
    return sorted(members, key=lambda m: (not m.can_come, not m.judges, m.name.casefold(), m.labeler_id))


def let_in(ws: Workspace, campaign_id: str, labeler_ids: Sequence[str], by: str = "") -> int:
    """Let people judge in a campaign and its later rounds; returns the number of people for whom that is new.

    Raises:
        NotFound: no such campaign, or no such labeler.
        NotAllowed: an account has ended.
    """
    with writing(ws.engine) as connection:
        _open_to(connection, campaign_id)
        for labeler_id in labeler_ids:
            _check_active(connection, labeler_id)
        return sum(join(connection, campaign_id, labeler_id, by) for labeler_id in dict.fromkeys(labeler_ids))


def take_off(ws: Workspace, campaign_id: str, labeler_id: str, by: str = "", *, settles: bool = False) -> None:
    """Exclude a person from judging in a campaign, whatever `open_to` says; tasks they began can still be submitted.

    This also applies to later rounds, except those for which a lead decided separately about this person.

    Args:
        ws: the workspace.
        campaign_id: the campaign.
        labeler_id: the person's labeler.
        by: id of the account that does it.
        settles: the person, an adjudicator, may still settle tasks here.

    Raises:
        NotFound: no such campaign, or no such labeler.
        Invalid: `settles` for a person who is not an adjudicator.
    """
    with writing(ws.engine) as connection:
        _open_to(connection, campaign_id)
        role = _check_labeler(connection, labeler_id)
        if settles and role != "adjudicator":
            raise Invalid("a person who is not an adjudicator", "an adjudicator", "change the role first, under People")
        _decide_for_rounds(connection, campaign_id, labeler_id, "settles" if settles else "out", by)


def join(connection: Connection, campaign_id: str, labeler_id: str, by: str) -> bool:
    """Let one person into a campaign and its later rounds, inside the caller's transaction.

    A separate decision in a later round stays. Returns whether the person is new to this campaign.
    """
    return _decide_for_rounds(connection, campaign_id, labeler_id, "in", by)


def join_by_invite(connection: Connection, campaign_id: str, account: Account, made_at: str, by: str) -> Joined:
    """Let an existing account into a campaign with an invitation that was made at `made_at`.

    If a lead has taken the person off since then, they stay off: an older link must not undo that.
    """
    if judges_in(connection, campaign_id, account):
        return "in already"
    if _decided_at(connection, campaign_id, account.labeler_id) > made_at:
        return "taken off"
    join(connection, campaign_id, account.labeler_id, by)
    return "joined"


def judges_in(connection: Connection, campaign_id: str, account: Account) -> bool:
    """Whether a person may currently judge in a campaign."""
    place = place_of(connection, campaign_id, account.labeler_id)
    open_to = _stored(connection, campaign_id) or "invited"
    return may_judge(open_to, everywhere=account.everywhere, place=place)


def follow(connection: Connection, campaign_id: str, earlier: str, by: str) -> None:
    """Make a campaign a later round of an earlier one and copy its people; does nothing if it already follows one."""
    known = select(LATER_ROUNDS.c.campaign_id).where(LATER_ROUNDS.c.campaign_id == campaign_id)
    if connection.execute(known).first() is not None:
        return
    connection.execute(insert(LATER_ROUNDS).values(campaign_id=campaign_id, follows=earlier))
    own_members = select(MEMBERS.c.labeler_id).where(MEMBERS.c.campaign_id == campaign_id)
    decided = set(connection.execute(own_members).scalars())
    rows = connection.execute(select(MEMBERS).where(MEMBERS.c.campaign_id == earlier)).mappings().all()
    new = [dict(row) | {"campaign_id": campaign_id} for row in rows if row["labeler_id"] not in decided]
    if new:
        connection.execute(insert(MEMBERS), new)
    note_event(connection, by, "people taken over", campaign_id, None, {"from": earlier, "num_people": len(new)})


def _decide_for_rounds(connection: Connection, campaign_id: str, labeler_id: str, place: Place, by: str) -> bool:
    """Store a decision about a person in a campaign and its later rounds; returns whether it changes this campaign.

    It applies to a later round that has no decision about the person, or has one copied from this campaign. A copied
    decision has the same time as the original.
    """
    before = _decided_at(connection, campaign_id, labeler_id)
    changed = _decide(connection, campaign_id, labeler_id, place, by, stamp(utc_now()))
    at = _decided_at(connection, campaign_id, labeler_id)
    for later in _later_rounds(connection, campaign_id):
        if _decided_at(connection, later, labeler_id) in ("", before):
            _decide(connection, later, labeler_id, place, by, at)
    return changed


def _decided_at(connection: Connection, campaign_id: str, labeler_id: str) -> str:
    """The time of the decision about a person in a campaign; "" if there is none."""
    same_row = (MEMBERS.c.campaign_id == campaign_id, MEMBERS.c.labeler_id == labeler_id)
    return connection.execute(select(MEMBERS.c.at).where(*same_row)).scalar() or ""


def _decide(connection: Connection, campaign_id: str, labeler_id: str, place: Place, by: str, at: str) -> bool:
    """Store a decision, with an event, unless it is the same as before; returns whether it changed."""
    before = place_of(connection, campaign_id, labeler_id)
    if before == place:
        return False
    same_row = (MEMBERS.c.campaign_id == campaign_id, MEMBERS.c.labeler_id == labeler_id)
    values = {"place": place, "at": at}
    if before is None:
        keys = {"campaign_id": campaign_id, "labeler_id": labeler_id}
        connection.execute(insert(MEMBERS).values(**keys, **values))
    else:
        connection.execute(update(MEMBERS).where(*same_row).values(**values))
    note_event(connection, by, EVENTS[place], campaign_id, None, {"person": labeler_id})
    return True


def _later_rounds(connection: Connection, campaign_id: str) -> list[str]:
    """The campaigns that follow this one, directly or through others."""
    rounds = [campaign_id]
    for earlier in rounds:
        following = select(LATER_ROUNDS.c.campaign_id).where(LATER_ROUNDS.c.follows == earlier)
        rounds += [later for later in connection.execute(following).scalars() if later not in rounds]
    return rounds[1:]


def _open_to(connection: Connection, campaign_id: str) -> OpenTo:
    stored = _stored(connection, campaign_id)
    if stored is None:
        raise NotFound(f"no campaign {campaign_id}", "the id of a campaign that was opened for labelling")
    return stored


def _stored(connection: Connection, campaign_id: str) -> OpenTo | None:
    """The campaign's option `open_to`; None if the campaign was imported and never opened."""
    query = select(CAMPAIGN_STATES.c.settings).where(CAMPAIGN_STATES.c.campaign_id == campaign_id)
    settings = connection.execute(query).scalar()
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise Invalid(f"settings: {settings!r:.80}", "an object of options")
    open_to: OpenTo = settings.get("open_to", "invited")
    return open_to


def _check_labeler(connection: Connection, labeler_id: str) -> str:
    """The role of the labeler's account; "" without one."""
    query = (
        select(LABELERS.c.id, ACCOUNTS.c.role)
        .outerjoin(ACCOUNTS, ACCOUNTS.c.labeler_id == LABELERS.c.id)
        .where(LABELERS.c.id == labeler_id)
    )
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"no labeler {labeler_id}", "the id of a labeler")
    return str(row.role or "")


def _check_active(connection: Connection, labeler_id: str) -> None:
    _check_labeler(connection, labeler_id)
    state = connection.execute(select(ACCOUNTS.c.state).where(ACCOUNTS.c.labeler_id == labeler_id)).scalar()
    if state not in (None, "active"):
        raise NotAllowed("this account has ended", "an active account", "let the person in again first, under People")
