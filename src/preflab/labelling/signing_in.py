"""Signing in by name and password, and how long somebody who guesses has to wait.

Failures are counted by where they come from and the name together, so that nobody is slowed by what others try: neither
the owner of a name by a guesser elsewhere, nor an office behind one address by a colleague's mistakes. A browser in
which an account has signed in before (a device) is counted by itself for that account, even beside a guesser in the
same office.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, delete, insert, select, update

from preflab.labelling.accounts import Account, account_from, name_key
from preflab.labelling.audit import note_event
from preflab.labelling.clock import stamp, utc_now
from preflab.labelling.errors import SignInFailed
from preflab.labelling.passwords import fits
from preflab.labelling.rates import check_wait, count_try, forget_attempt, forget_tries, num_tries, place_of_address
from preflab.labelling.sessions import secret_hash
from preflab.labelling.tables import ACCOUNTS, DEVICES
from preflab.store.database import reading, writing
from preflab.store.workspace import Workspace

FREE_TRIES = 5
"""Wrong passwords for a name from one place before the waiting begins."""
ADDRESS_TRIES, ADDRESS_SECONDS = 100, 15 * 60
"""After so many wrong passwords from one address within so many seconds, whatever the names, each name has one free try
from there. Names are not refused for one another's failures: a right password at the first try always works."""
DEVICE_AGE = timedelta(days=400)
"""A device is forgotten so long after the account last signed in on it; browsers keep cookies no longer."""
WRONG = ("name or password is wrong", "the name and password chosen at the invitation")


def sign_in(ws: Workspace, name: str, password: str, address: str = "", device: str = "") -> Account:
    """The active account of this name and password.

    Args:
        ws: the workspace.
        name: as typed.
        password: as typed.
        address: where it comes from; many people may share one.
        device: the secret of the browser, from `know_device`; "" for a new one.

    Raises:
        SignInFailed: no such name, a wrong password, or a revoked account: which of them is not said.
        TooMany: too many failures for this name from this place.
    """
    key = name_key(name)
    with writing(ws.engine) as connection:
        tried = _count_try(connection, key, address, device)
    with reading(ws.engine) as connection:
        row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.name_key == key)).mappings().first()
    known = fits(password, row["password_hash"] if row else None)
    if row is None or not known or row["state"] != "active":
        raise SignInFailed(*WRONG)
    with writing(ws.engine) as connection:
        tried.forget(connection)
        note_event(connection, row["id"], "signed in", row["id"])
    return account_from(row)


def check_password(ws: Workspace, me: Account, password: str) -> None:
    """Ask somebody who is signed in for the password again; what others try elsewhere does not slow them.

    Raises:
        SignInFailed: a wrong password.
        TooMany: too many wrong ones by whoever is signed in.
    """
    with writing(ws.engine) as connection:
        check_wait(connection, "password", me.id, FREE_TRIES)
    with reading(ws.engine) as connection:
        stored = connection.execute(select(ACCOUNTS.c.password_hash).where(ACCOUNTS.c.id == me.id)).scalar()
    if not fits(password, stored):
        raise SignInFailed("the current password is wrong", "the password you signed in with")
    with writing(ws.engine) as connection:
        forget_tries(connection, "password", me.id)


def know_device(ws: Workspace, account_id: str, held: str = "") -> str:
    """Note that an account has signed in in a browser.

    Args:
        ws: the workspace.
        account_id: of the account.
        held: the secret that the browser has, kept if it is one of ours; another one is never taken over.

    Returns:
        the secret for the browser's cookie.
    """
    now = utc_now()
    with writing(ws.engine) as connection:
        connection.execute(delete(DEVICES).where(DEVICES.c.seen_at < stamp(now - DEVICE_AGE)))
        ours = select(DEVICES.c.account_id).where(DEVICES.c.token_hash == secret_hash(held))
        accounts = set(connection.execute(ours).scalars()) if held else set()
        secret = held if accounts else secrets.token_urlsafe(32)
        mine = (DEVICES.c.token_hash == secret_hash(secret), DEVICES.c.account_id == account_id)
        if account_id in accounts:
            connection.execute(update(DEVICES).where(*mine).values(seen_at=stamp(now)))
        else:
            row = {"token_hash": secret_hash(secret), "account_id": account_id, "seen_at": stamp(now)}
            connection.execute(insert(DEVICES).values(**row))
    return secret


@dataclass(frozen=True)
class _Tried:
    """What was counted of one try."""

    key: str
    """Place and name."""
    from_address: str | None
    """Id of the address's own count; None of a device."""

    def forget(self, connection: Connection) -> None:
        """It succeeded."""
        forget_tries(connection, "sign in", self.key)
        if self.from_address is not None:
            forget_attempt(connection, self.from_address)


def _count_try(connection: Connection, key: str, address: str, device: str) -> _Tried:
    """Count a try for a name, unless its place has to wait."""
    if _is_known(connection, key, device):
        place_key = f"device {secret_hash(device)}\n{key}"
        check_wait(connection, "sign in", place_key, FREE_TRIES)
        return _Tried(place_key, None)
    place = place_of_address(address)
    since = utc_now() - timedelta(seconds=ADDRESS_SECONDS)
    num, _ = num_tries(connection, "sign in from", place, since)
    place_key = f"address {place}\n{key}"
    check_wait(connection, "sign in", place_key, FREE_TRIES if num < ADDRESS_TRIES else 1)
    return _Tried(place_key, count_try(connection, "sign in from", place))


def _is_known(connection: Connection, key: str, device: str) -> bool:
    """Whether the account of this name has signed in on this device."""
    query = (
        select(DEVICES.c.account_id)
        .join(ACCOUNTS, ACCOUNTS.c.id == DEVICES.c.account_id)
        .where(DEVICES.c.token_hash == secret_hash(device), ACCOUNTS.c.name_key == key)
        .where(DEVICES.c.seen_at > stamp(utc_now() - DEVICE_AGE))
    )
    return connection.execute(query).first() is not None
