"""Who judges in a campaign: people let in or taken off one by one, and what the campaign says of everybody else.

Both change at any time and hold from the next request on. A submission of somebody who was taken off is still kept.

A later round of a campaign goes to the same people. Whoever is let into a campaign or taken off it is let into its
later rounds or taken off them too, except for a round where a lead decided about this person by itself. The option
`open_to` does not follow: a later round takes it over when it is made, and keeps it.
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
"""What was decided of a person in a campaign; `settles`: an adjudicator there who does not judge."""
Joined = Literal["joined", "in already", "taken off"]
EVENTS = {"in": "person let in", "settles": "person settles only", "out": "person taken off"}

# Statements that every request needs are put together once.
PLACE = select(MEMBERS.c.place).where(
    MEMBERS.c.campaign_id == bindparam("of_campaign"), MEMBERS.c.labeler_id == bindparam("of_labeler")
)


@dataclass(frozen=True)
class Reach:
    """Where a labeler may judge, as far as their account and what was decided of them say it."""

    everywhere: bool
    """Let into all campaigns, also later ones, that are not for named people alone."""
    places: Mapping[str, Place]
    """Campaign → what was decided there."""


@dataclass(frozen=True)
class Member:
    """Somebody as a campaign's lead sees them."""

    labeler_id: str
    kind: LabelerKind
    name: str
    """What colleagues call them; the pseudonym of somebody without an account."""
    account_id: str
    """"" without an account."""
    role: str
    state: str
    """`active`, `revoked` or `erased`; "" without an account."""
    everywhere: bool
    place: Place | None
    judges: bool
    """May judge in this campaign, as far as the campaign decides it."""

    @property
    def can_come(self) -> bool:
        """May judge, and has a way to sign in."""
        return self.judges and self.state == "active"


def may_judge(open_to: OpenTo, *, everywhere: bool, place: Place | None) -> bool:
    """The one rule: what was decided of the person comes first, then what the campaign says of everybody else."""
    if place is not None:
        return place == "in"
    return open_to == "everybody" or (open_to == "invited" and everywhere)


def may_settle(open_to: OpenTo, *, everywhere: bool, place: Place | None) -> bool:
    """Whether an adjudicator settles tasks here: a campaign for named people limits who judges, not who settles."""
    if place is not None:
        return place != "out"
    return everywhere or open_to == "everybody"


def reach_of(connection: Connection, labeler_id: str) -> Reach:
    """Where this labeler may judge; one without an account (simulated, imported) everywhere."""
    account = select(ACCOUNTS.c.everywhere).where(ACCOUNTS.c.labeler_id == labeler_id)
    places = select(MEMBERS.c.campaign_id, MEMBERS.c.place).where(MEMBERS.c.labeler_id == labeler_id)
    everywhere = connection.execute(account).scalar()
    return Reach(everywhere is not False, {row.campaign_id: row.place for row in connection.execute(places)})


def reaches(ws: Workspace, labeler_ids: Sequence[str]) -> dict[str, Reach]:
    """Labeler → where they may judge."""
    with reading(ws.engine) as connection:
        return {labeler_id: reach_of(connection, labeler_id) for labeler_id in labeler_ids}


def place_in(ws: Workspace, campaign_id: str, labeler_id: str) -> Place | None:
    """What was decided of a labeler in a campaign; None for nothing."""
    with reading(ws.engine) as connection:
        return place_of(connection, campaign_id, labeler_id)


def place_of(connection: Connection, campaign_id: str, labeler_id: str) -> Place | None:
    """`place_in` inside the caller's transaction."""
    place: Place | None = connection.execute(PLACE, {"of_campaign": campaign_id, "of_labeler": labeler_id}).scalar()
    return place


def people_of(ws: Workspace, campaign_id: str) -> list[Member]:
    """Everybody with an account that is not erased, and whoever else was let in; those who judge first, by name.

    Raises:
        NotFound: no such campaign.
    """
    with reading(ws.engine) as connection:
        open_to = _open_to(connection, campaign_id)
        here = (MEMBERS.c.labeler_id == LABELERS.c.id) & (MEMBERS.c.campaign_id == campaign_id)
        columns = (LABELERS.c.id, LABELERS.c.kind, LABELERS.c.name.label("pseudonym"), MEMBERS.c.place)
        query = (
            select(*columns, ACCOUNTS.c.id.label("account_id"), ACCOUNTS.c.name, ACCOUNTS.c.role, ACCOUNTS.c.state)
            .add_columns(ACCOUNTS.c.everywhere)
            .select_from(LABELERS)
            .outerjoin(ACCOUNTS, ACCOUNTS.c.labeler_id == LABELERS.c.id)
            .outerjoin(MEMBERS, here)
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
    return sorted(members, key=lambda each: (not each.can_come, not each.judges, each.name.casefold(), each.labeler_id))


def let_in(ws: Workspace, campaign_id: str, labeler_ids: Sequence[str], by: str = "") -> int:
    """Let people judge in a campaign, and in its later rounds; returns for how many that is new.

    Raises:
        NotFound: no such campaign, or no such labeler.
        NotAllowed: an account that has ended.
    """
    with writing(ws.engine) as connection:
        _open_to(connection, campaign_id)
        for labeler_id in labeler_ids:
            _check_active(connection, labeler_id)
        return sum(join(connection, campaign_id, labeler_id, by) for labeler_id in dict.fromkeys(labeler_ids))


def take_off(ws: Workspace, campaign_id: str, labeler_id: str, by: str = "", *, settles: bool = False) -> None:
    """End somebody's judging in a campaign, whatever else would let them in; what they began can still be sent in.

    It ends in the campaign's later rounds too, but for those where a lead decided about this person by itself.

    Args:
        ws: the workspace.
        campaign_id: where.
        labeler_id: whom.
        by: who does it (account id).
        settles: an adjudicator goes on settling tasks here.

    Raises:
        NotFound: no such campaign, or no such labeler.
        Invalid: `settles` of somebody who is no adjudicator.
    """
    with writing(ws.engine) as connection:
        _open_to(connection, campaign_id)
        role = _check_labeler(connection, labeler_id)
        if settles and role != "adjudicator":
            raise Invalid("somebody who is no adjudicator", "an adjudicator", "change the role first, under People")
        _decide_for_rounds(connection, campaign_id, labeler_id, "settles" if settles else "out", by)


def join(connection: Connection, campaign_id: str, labeler_id: str, by: str) -> bool:
    """Let one person into a campaign inside the caller's transaction, and into its later rounds.

    Where a lead decided otherwise in a later round, that stays. Returns whether it is new to the campaign itself.
    """
    return _decide_for_rounds(connection, campaign_id, labeler_id, "in", by)


def join_by_invite(connection: Connection, campaign_id: str, account: Account, made_at: str, by: str) -> Joined:
    """Let somebody who has an account into a campaign by an invitation made at a moment.

    Whom a lead has taken off since then stays so: a link that is still about must not undo it.
    """
    if judges_in(connection, campaign_id, account):
        return "in already"
    if _decided_at(connection, campaign_id, account.labeler_id) > made_at:
        return "taken off"
    join(connection, campaign_id, account.labeler_id, by)
    return "joined"


def judges_in(connection: Connection, campaign_id: str, account: Account) -> bool:
    """Whether somebody may judge in a campaign as it stands."""
    place = place_of(connection, campaign_id, account.labeler_id)
    open_to = _stored(connection, campaign_id) or "invited"
    return may_judge(open_to, everywhere=account.everywhere, place=place)


def follow(connection: Connection, campaign_id: str, earlier: str, by: str) -> None:
    """Make a campaign a later round of an earlier one, whose people it takes over; once, later calls do nothing."""
    known = select(LATER_ROUNDS.c.campaign_id).where(LATER_ROUNDS.c.campaign_id == campaign_id)
    if connection.execute(known).first() is not None:
        return
    connection.execute(insert(LATER_ROUNDS).values(campaign_id=campaign_id, follows=earlier))
    there = select(MEMBERS.c.labeler_id).where(MEMBERS.c.campaign_id == campaign_id)
    decided = set(connection.execute(there).scalars())
    rows = connection.execute(select(MEMBERS).where(MEMBERS.c.campaign_id == earlier)).mappings().all()
    new = [dict(row) | {"campaign_id": campaign_id} for row in rows if row["labeler_id"] not in decided]
    if new:
        connection.execute(insert(MEMBERS), new)
    note_event(connection, by, "people taken over", campaign_id, None, {"from": earlier, "num_people": len(new)})


def _decide_for_rounds(connection: Connection, campaign_id: str, labeler_id: str, place: Place, by: str) -> bool:
    """Decide about a person in a campaign and in its later rounds; returns whether it is new to the campaign itself.

    A later round follows where nothing was decided, or where its decision was taken over from this campaign: then both
    have one moment, whether they were made at once or copied by `follow`.
    """
    before = _decided_at(connection, campaign_id, labeler_id)
    changed = _decide(connection, campaign_id, labeler_id, place, by, stamp(utc_now()))
    at = _decided_at(connection, campaign_id, labeler_id)
    for later in _later_rounds(connection, campaign_id):
        if _decided_at(connection, later, labeler_id) in ("", before):
            _decide(connection, later, labeler_id, place, by, at)
    return changed


def _decided_at(connection: Connection, campaign_id: str, labeler_id: str) -> str:
    """When it was decided about a person in a campaign; "" for never."""
    mine = (MEMBERS.c.campaign_id == campaign_id, MEMBERS.c.labeler_id == labeler_id)
    return connection.execute(select(MEMBERS.c.at).where(*mine)).scalar() or ""


def _decide(connection: Connection, campaign_id: str, labeler_id: str, place: Place, by: str, at: str) -> bool:
    """Write what was decided, and an event where it changes something."""
    before = place_of(connection, campaign_id, labeler_id)
    if before == place:
        return False
    mine = (MEMBERS.c.campaign_id == campaign_id, MEMBERS.c.labeler_id == labeler_id)
    values = {"place": place, "at": at}
    if before is None:
        keys = {"campaign_id": campaign_id, "labeler_id": labeler_id}
        connection.execute(insert(MEMBERS).values(**keys, **values))
    else:
        connection.execute(update(MEMBERS).where(*mine).values(**values))
    note_event(connection, by, EVENTS[place], campaign_id, None, {"person": labeler_id})
    return True


def _later_rounds(connection: Connection, campaign_id: str) -> list[str]:
    """The campaigns that follow this one, directly or through others."""
    rounds = [campaign_id]
    for each in rounds:
        following = select(LATER_ROUNDS.c.campaign_id).where(LATER_ROUNDS.c.follows == each)
        rounds += [later for later in connection.execute(following).scalars() if later not in rounds]
    return rounds[1:]


def _open_to(connection: Connection, campaign_id: str) -> OpenTo:
    stored = _stored(connection, campaign_id)
    if stored is None:
        raise NotFound(f"no campaign {campaign_id}", "the id of a campaign that was opened for labelling")
    return stored


def _stored(connection: Connection, campaign_id: str) -> OpenTo | None:
    """The campaign's option; None of one that was imported and never opened."""
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
