"""Invitations: a link that makes one account, once, within its time."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

from sqlalchemy import Connection, RowMapping, insert, select, update

from preflab.labelling.accounts import Account, AccountRole, add_account
from preflab.labelling.audit import note_event
from preflab.labelling.campaign_rows import let_in
from preflab.labelling.clock import stamp, utc_now
from preflab.labelling.errors import Invalid, NotAllowed, NotFound
from preflab.labelling.passwords import hashed
from preflab.labelling.rates import check_rate
from preflab.labelling.sessions import secret_hash
from preflab.labelling.tables import CAMPAIGNS, INVITES
from preflab.records import random_id
from preflab.store.database import reading, writing
from preflab.store.workspace import Workspace

TRIES, TRIES_SECONDS = 50, 15 * 60
"""Uses of invitations from one address within so many seconds."""
MAX_HOURS = 24 * 90


@dataclass(frozen=True)
class Invite:
    """An invitation, without its secret."""

    id: str
    role: AccountRole
    campaign_ids: tuple[str, ...]
    """The campaigns it opens; () = all."""
    created_by: str
    created_at: str
    expires_at: str
    used_by: str | None = None
    """The account it made."""
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
    """An invitation and the secret of its link, which is shown this once.

    Raises:
        Invalid: an unknown role, or a time that is no time.
        NotFound: a campaign that is not there.
    """
    if role not in get_args(AccountRole):
        raise Invalid(f"role: {role!r:.80}", ", ".join(get_args(AccountRole)))
    if not 0 < hours <= MAX_HOURS:
        raise Invalid(f"hours: {hours}", f"more than 0, at most {MAX_HOURS}")
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
    """The invitation of a link, as long as it can be used.

    Raises:
        NotAllowed: unknown, used, withdrawn or expired.
    """
    with reading(ws.engine) as connection:
        return _invite(_open_invite(connection, token))


def use_invite(ws: Workspace, token: str, name: str, password: str, address: str = "") -> Account:
    """The account that the invitation makes, with the name and password its person chose.

    Raises:
        NotAllowed: unknown, used, withdrawn or expired; which of them is said, since only its holder can ask.
        Invalid: a name that is taken or a password too short; the invitation stays open.
        TooMany: too many tries from this address.
    """
    with writing(ws.engine) as connection:
        check_rate(connection, "invite", address, TRIES, TRIES_SECONDS)
    password_hash = hashed(password)
    with writing(ws.engine) as connection:
        row = _open_invite(connection, token)
        campaign_ids = row["campaign_ids"]
        account = add_account(connection, name, row["role"], password_hash, campaign_ids=campaign_ids)
        used = {"used_by": account.id, "used_at": stamp(utc_now())}
        connection.execute(update(INVITES).where(INVITES.c.id == row["id"]).values(**used))
        note_event(connection, account.id, "invite used", row["id"], None, {"account_id": account.id})
        for campaign_id in campaign_ids:
            let_in(connection, campaign_id, account.labeler_id, by=row["created_by"])
    return account


def invites(ws: Workspace) -> list[Invite]:
    """All invitations, newest first."""
    with reading(ws.engine) as connection:
        rows = connection.execute(select(INVITES).order_by(INVITES.c.created_at.desc(), INVITES.c.id)).mappings()
        return [_invite(row) for row in rows]


def withdraw(ws: Workspace, invite_id: str, by: str = "") -> None:
    """Close an invitation that nobody has used.

    Raises:
        NotFound: no such open invitation.
    """
    still = (INVITES.c.id == invite_id, INVITES.c.used_at.is_(None), INVITES.c.withdrawn_at.is_(None))
    with writing(ws.engine) as connection:
        if connection.execute(select(INVITES.c.id).where(*still)).first() is None:
            raise NotFound(f"no open invitation {invite_id}", "one that was neither used nor withdrawn")
        connection.execute(update(INVITES).where(*still).values(withdrawn_at=stamp(utc_now())))
        note_event(connection, by, "invite withdrawn", invite_id)


def _open_invite(connection: Connection, token: str) -> RowMapping:
    row = connection.execute(select(INVITES).where(INVITES.c.token_hash == secret_hash(token))).mappings().first()
    state = "unknown" if row is None else _invite(row).state
    if row is None or state != "open":
        reason = {"used": "was used already", "withdrawn": "was withdrawn", "expired": "has expired"}
        advice = "sign in with the name and password chosen then" if state == "used" else "ask the lead for a new link"
        raise NotAllowed(f"this invitation {reason.get(state, 'is not known')}", "an open invitation", advice)
    return row


def _refuse_unknown_campaigns(connection: Connection, campaign_ids: Sequence[str]) -> None:
    known = set(connection.execute(select(CAMPAIGNS.c.id).where(CAMPAIGNS.c.id.in_(campaign_ids))).scalars())
    for campaign_id in campaign_ids:
        if campaign_id not in known:
            raise NotFound(f"no campaign {campaign_id}", "the id of a campaign")


def _invite(row: Mapping[str, Any] | RowMapping) -> Invite:
    values = {name: row[name] for name in Invite.__dataclass_fields__ if name in row}
    return Invite(**values | {"campaign_ids": tuple(row["campaign_ids"])})
