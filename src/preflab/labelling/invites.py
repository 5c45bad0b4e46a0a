"""Invitations: links that can be used once, before they expire, to make an account or to let an account join."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

from sqlalchemy import Connection, RowMapping, insert, select, update

from preflab.labelling.accounts import ALL_CAMPAIGNS, REACH_CHANGED, Account, AccountRole, add_account, set_reach
from preflab.labelling.audit import note_event
from preflab.labelling.clock import stamp, utc_now
from preflab.labelling.errors import Invalid, NotAllowed, NotFound
from preflab.labelling.members import join, join_by_invite, judges_in
from preflab.labelling.passwords import hash_password
from preflab.labelling.rates import check_rate, place_of_address
from preflab.labelling.sessions import secret_hash
from preflab.labelling.tables import CAMPAIGNS, EVENTS, INVITES
from preflab.records import random_id
from preflab.store.database import reading, writing
from preflab.store.workspace import Workspace

TRIES, TRIES_SECONDS = 50, 15 * 60
"""Limit of attempts: from one address with invalid links, or with one valid link, in so many seconds."""
MAX_HOURS, A_MINUTE = 24 * 90, 1 / 60


@dataclass(frozen=True)
class Invite:
    """An invitation, without its secret."""

    id: str
    role: AccountRole
    campaign_ids: tuple[str, ...]
    """The campaigns it gives access to; () = all, including later ones."""
    created_by: str
    created_at: str
    expires_at: str
    used_by: str | None = None
    """Id of the account that it made or that joined with it."""
    used_at: str | None = None
    withdrawn_at: str | None = None

    @property
    def state(self) -> str:
        """`open`, `used`, `withdrawn` or `expired`."""
        if self.used_at is not None:
            return "used"
        if self.withdrawn_at is not None:
            return "withdrawn"
        return "open" if self.expires_at > stamp(utc_now()) else "expired"


def create_invite(
    ws: Workspace, role: AccountRole, campaign_ids: Sequence[str] = (), hours: float = 72, by: str = ""
) -> tuple[Invite, str]:
    """Create an invitation; returns it and the secret of its link, which is not stored.

    Raises:
        Invalid: an unknown role, or `hours` out of range.
        NotFound: no such campaign.
    """
    if role not in get_args(AccountRole):
        raise Invalid(f"role: {role!r:.80}", ", ".join(get_args(AccountRole)))
    if not A_MINUTE <= hours <= MAX_HOURS:
        raise Invalid(f"hours: {hours}", f"at least a minute (1/60), at most {MAX_HOURS}")
    secret, now = secrets.token_urlsafe(32), utc_now()
    row = {
        "id": random_id("invite"),
        "role": role,
        "campaign_ids": list(dict.fromkeys(campaign_ids)),
        "created_by": by,
        "created_at": stamp(now),
        "expires_at": stamp(now + timedelta(hours=hours)),
    }
    with writing(ws.engine) as connection:
        _refuse_unknown_campaigns(connection, campaign_ids)
        connection.execute(insert(INVITES).values(token_hash=secret_hash(secret), **row))
        new = {"role": role, "campaign_ids": row["campaign_ids"], "expires_at": row["expires_at"]}
        note_event(connection, by, "invite created", str(row["id"]), None, new)
    return _invite(row), secret


def open_invite(ws: Workspace, token: str) -> Invite:
    """The invitation of a link that can still be used.

    Raises:
        NotAllowed: the invitation is unknown, used, withdrawn or expired.
    """
    with reading(ws.engine) as connection:
        return _invite(_open_invite(connection, token))


def use_invite(ws: Workspace, token: str, name: str, password: str, address: str = "") -> Account:
    """Make an account from an invitation, with the chosen name and password.

    Raises:
        NotAllowed: the invitation is unknown, used, withdrawn or expired; the message says which, since only the
            holder of the link can ask.
        Invalid: the name is taken or the password too short; the invitation stays open.
        TooMany: too many attempts with invalid links from this address, or with this link.
    """
    _count_use(ws, token, address)
    password_hash = hash_password(password)
    with writing(ws.engine) as connection:
        row = _open_invite(connection, token)
        everywhere = not row["campaign_ids"]
        account = add_account(connection, name, row["role"], password_hash, everywhere=everywhere)
        for campaign_id in row["campaign_ids"]:
            join(connection, campaign_id, account.labeler_id, by=row["created_by"])
        _use_up(connection, row, account)
    return account


def join_invite(ws: Workspace, token: str, account: Account) -> tuple[str, ...]:
    """Let an existing account into the campaigns of an invitation; its role stays the same.

    Using the link again changes nothing. A link that gives this account nothing new stays unused. Returns the
    campaigns that the invitation names.

    Raises:
        NotAllowed: the invitation is unknown, withdrawn, expired or used by somebody else, or is for an account of
            another kind; or a lead took this person off, or limited them to named campaigns, after it was made.
    """
    with writing(ws.engine) as connection:
        invitation = _row(connection, token)
        row = (
            invitation
            if invitation is not None and invitation["used_by"] == account.id
            else _open_invite(connection, token)
        )
        if row is invitation:
            return tuple(row["campaign_ids"])
        refuse_other_kind(row["role"], account)
        by = row["created_by"]
        if not row["campaign_ids"]:
            _refuse_narrowed(connection, account, row["created_at"])
            if set_reach(connection, account, True, by):
                _use_up(connection, row, account)
            return ()
        results = [join_by_invite(connection, each, account, row["created_at"], by) for each in row["campaign_ids"]]
        if "joined" in results:
            _use_up(connection, row, account)
        elif "taken off" in results:
            raise NotAllowed(
                "you were taken off this campaign after the link was made", "a newer link", "ask the lead for one"
            )
        return tuple(row["campaign_ids"])


def refuse_other_kind(role: str, account: Account) -> None:
    """Refuse an invitation that would turn an existing account into a lead or an AI judge.

    Raises:
        NotAllowed: the invitation is for an account of another kind.
    """
    if role == "lead" and account.role != "lead":
        raise NotAllowed(
            "this invitation is for a new lead; it cannot change the role of your account",
            "a person without an account",
            "ask a lead to change your role, or sign out to make another account",
        )
    if (role == "ai") != (account.role == "ai"):
        raise NotAllowed(
            f"this invitation is for {'an AI judge' if role == 'ai' else 'people'}", "an account of that kind",
            "sign out to make one",
        )  # fmt: skip


def opens_new(ws: Workspace, invite: Invite, account: Account) -> bool:
    """Whether an invitation gives this account access that it does not have yet."""
    if not invite.campaign_ids:
        return not account.everywhere
    with reading(ws.engine) as connection:
        return not all(judges_in(connection, each, account) for each in invite.campaign_ids)


def invites(ws: Workspace) -> list[Invite]:
    """All invitations, newest first."""
    with reading(ws.engine) as connection:
        rows = connection.execute(select(INVITES).order_by(INVITES.c.created_at.desc(), INVITES.c.id)).mappings()
        return [_invite(row) for row in rows]


def withdraw(ws: Workspace, invite_id: str, by: str = "") -> None:
    """Withdraw an invitation that nobody has used.

    Raises:
        NotFound: no such open invitation.
    """
    is_open = (INVITES.c.id == invite_id, INVITES.c.used_at.is_(None), INVITES.c.withdrawn_at.is_(None))
    with writing(ws.engine) as connection:
        if connection.execute(select(INVITES.c.id).where(*is_open)).first() is None:
            raise NotFound(f"no open invitation {invite_id}", "one that was neither used nor withdrawn")
        connection.execute(update(INVITES).where(*is_open).values(withdrawn_at=stamp(utc_now())))
        note_event(connection, by, "invite withdrawn", invite_id)


def _row(connection: Connection, token: str) -> RowMapping | None:
    return connection.execute(select(INVITES).where(INVITES.c.token_hash == secret_hash(token))).mappings().first()


def _count_use(ws: Workspace, token: str, address: str) -> None:
    """Count an attempt: by address for an invalid link, by link for a valid one, so that nobody can block it."""
    with reading(ws.engine) as connection:
        row = _row(connection, token)
    is_open = row is not None and _invite(row).state == "open"
    key = f"link {row['id']}" if row is not None and is_open else f"address {place_of_address(address)}"
    with writing(ws.engine) as connection:
        check_rate(connection, "invite", key, TRIES, TRIES_SECONDS)


def _use_up(connection: Connection, row: RowMapping, account: Account) -> None:
    used = {"used_by": account.id, "used_at": stamp(utc_now())}
    connection.execute(update(INVITES).where(INVITES.c.id == row["id"]).values(**used))
    note_event(connection, account.id, "invite used", row["id"], None, {"account_id": account.id})


def _refuse_narrowed(connection: Connection, account: Account, made_at: str) -> None:
    """Refuse a link to all campaigns if a lead limited this account to named campaigns after the link was made."""
    changes = select(EVENTS.c.new).where(
        EVENTS.c.about == account.id, EVENTS.c.what == REACH_CHANGED, EVENTS.c.at > made_at
    )
    last = connection.execute(changes.order_by(EVENTS.c.id.desc()).limit(1)).scalar()
    if last is not None and not last[ALL_CAMPAIGNS]:
        raise NotAllowed(
            "a lead chose your campaigns one by one since the link was made", "a newer link", "ask the lead for one"
        )


def _open_invite(connection: Connection, token: str) -> RowMapping:
    row = _row(connection, token)
    state = "unknown" if row is None else _invite(row).state
    if row is None or state != "open":
        reason = {"used": "was used already", "withdrawn": "was withdrawn", "expired": "has expired"}
        advice = "sign in with the name and password chosen then" if state == "used" else "ask the lead for a new link"
        raise NotAllowed(f"this invitation {reason.get(state, 'is not known')}", "an open invitation", advice)
    return row


def _refuse_unknown_campaigns(connection: Connection, campaign_ids: Sequence[str]) -> None:
    existing = set(connection.execute(select(CAMPAIGNS.c.id).where(CAMPAIGNS.c.id.in_(campaign_ids))).scalars())
    for campaign_id in campaign_ids:
        if campaign_id not in existing:
            raise NotFound(f"no campaign {campaign_id}", "the id of a campaign")


def _invite(row: Mapping[str, Any] | RowMapping) -> Invite:
    values = {name: row[name] for name in Invite.__dataclass_fields__ if name in row}
    return Invite(**values | {"campaign_ids": tuple(row["campaign_ids"])})
