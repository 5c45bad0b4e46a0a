"""Sessions of signed-in browsers, and personal tokens for scripts: random 256-bit secrets, stored only as hashes."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import bindparam, delete, insert, select, update

from preflab.labelling.accounts import Account, account_from
from preflab.labelling.audit import note_event
from preflab.labelling.clock import moment_of, stamp, utc_now
from preflab.labelling.errors import Invalid, NotAllowed, NotFound
from preflab.labelling.tables import ACCOUNTS, SESSIONS, TOKENS
from preflab.records import random_id
from preflab.store.database import reading, writing
from preflab.store.workspace import Workspace

SESSION_AGE = timedelta(days=30)
"""Time after its last use at which a session ends."""
SEEN_EVERY = timedelta(hours=1)
"""Precision of the stored last use, so that not every request writes to the database."""
TOKEN_MARK = "preflab_"
"""Prefix of every token, by which scanners for leaked secrets can recognise it."""
SIGNED_IN = (
    select(ACCOUNTS, SESSIONS.c.last_seen)
    .join(SESSIONS, SESSIONS.c.account_id == ACCOUNTS.c.id)
    .where(
        SESSIONS.c.token_hash == bindparam("of_token"),
        SESSIONS.c.expires_at > bindparam("now"),
        ACCOUNTS.c.state == "active",
    )
)


@dataclass(frozen=True)
class Token:
    """A personal token, without its secret."""

    id: str
    name: str
    created_at: str
    last_used: str | None
    revoked_at: str | None


def secret_hash(secret: str) -> str:
    """The stored form of a secret: SHA-256, which is enough for 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def open_session(ws: Workspace, account_id: str) -> str:
    """Open a session of an active account; returns the secret for the cookie.

    Raises:
        NotAllowed: the account is not active.
    """
    secret, now = secrets.token_urlsafe(32), utc_now()
    with writing(ws.engine) as connection:
        active = (ACCOUNTS.c.id == account_id, ACCOUNTS.c.state == "active")
        if connection.execute(select(ACCOUNTS.c.id).where(*active)).first() is None:
            raise NotAllowed("this account has ended", "an active account")
        connection.execute(delete(SESSIONS).where(SESSIONS.c.expires_at < stamp(now)))
        row = {"created_at": stamp(now), "last_seen": stamp(now), "expires_at": stamp(now + SESSION_AGE)}
        connection.execute(insert(SESSIONS).values(token_hash=secret_hash(secret), account_id=account_id, **row))
    return secret


def account_of_session(ws: Workspace, token: str) -> Account | None:
    """The active account of a session that has not ended; None otherwise. Extends the session."""
    now, token_hash = utc_now(), secret_hash(token)
    with reading(ws.engine) as connection:
        row = connection.execute(SIGNED_IN, {"of_token": token_hash, "now": stamp(now)}).mappings().first()
    if row is None:
        return None
    if now - moment_of(row["last_seen"]) > SEEN_EVERY:
        with writing(ws.engine) as connection:
            seen = {"last_seen": stamp(now), "expires_at": stamp(now + SESSION_AGE)}
            connection.execute(update(SESSIONS).where(SESSIONS.c.token_hash == token_hash).values(**seen))
    return account_from(row)


def close_session(ws: Workspace, token: str) -> None:
    """Sign out: delete the session of this secret."""
    with writing(ws.engine) as connection:
        connection.execute(delete(SESSIONS).where(SESSIONS.c.token_hash == secret_hash(token)))


def create_token(ws: Workspace, account_id: str, name: str, by: str = "") -> str:
    """Create a token for scripts; returns its secret, which is not stored.

    Raises:
        Invalid: the name is empty or too long.
        NotFound: no such active account.
    """
    if not name.strip() or len(name) > 200:
        raise Invalid(f"name: {name!r:.80}", "1 to 200 characters that say what the token is for")
    secret, token_id = TOKEN_MARK + secrets.token_urlsafe(32), random_id("token")
    with writing(ws.engine) as connection:
        active = (ACCOUNTS.c.id == account_id, ACCOUNTS.c.state == "active")
        if connection.execute(select(ACCOUNTS.c.id).where(*active)).first() is None:
            raise NotFound(f"no active account {account_id}", "the id of an active account")
        row = {"id": token_id, "account_id": account_id, "name": name.strip(), "created_at": stamp(utc_now())}
        connection.execute(insert(TOKENS).values(token_hash=secret_hash(secret), **row))
        note_event(connection, by, "token created", account_id, None, {"token_id": token_id})
    return secret


def account_of_token(ws: Workspace, token: str) -> Account | None:
    """The active account of a token that is not revoked; None otherwise."""
    now, token_hash = utc_now(), secret_hash(token)
    query = (
        select(ACCOUNTS, TOKENS.c.last_used)
        .join(TOKENS, TOKENS.c.account_id == ACCOUNTS.c.id)
        .where(TOKENS.c.token_hash == token_hash, TOKENS.c.revoked_at.is_(None), ACCOUNTS.c.state == "active")
    )
    with reading(ws.engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    if row["last_used"] is None or now - moment_of(row["last_used"]) > SEEN_EVERY:
        with writing(ws.engine) as connection:
            connection.execute(update(TOKENS).where(TOKENS.c.token_hash == token_hash).values(last_used=stamp(now)))
    return account_from(row)


def tokens(ws: Workspace, account_id: str) -> list[Token]:
    """The account's tokens, newest first, including revoked ones."""
    columns = (TOKENS.c.id, TOKENS.c.name, TOKENS.c.created_at, TOKENS.c.last_used, TOKENS.c.revoked_at)
    query = select(*columns).where(TOKENS.c.account_id == account_id).order_by(TOKENS.c.created_at.desc())
    with reading(ws.engine) as connection:
        return [Token(**row) for row in connection.execute(query).mappings()]


def revoke_token(ws: Workspace, account_id: str, token_id: str, by: str = "") -> None:
    """Revoke a token of the account, with immediate effect.

    Raises:
        NotFound: the account has no such token.
    """
    conditions = (TOKENS.c.id == token_id, TOKENS.c.account_id == account_id)
    with writing(ws.engine) as connection:
        if connection.execute(select(TOKENS.c.id).where(*conditions)).first() is None:
            raise NotFound(f"no token {token_id}", "the id of a token of this account")
        unrevoked = (*conditions, TOKENS.c.revoked_at.is_(None))
        connection.execute(update(TOKENS).where(*unrevoked).values(revoked_at=stamp(utc_now())))
        note_event(connection, by, "token revoked", account_id, None, {"token_id": token_id})
