"""Signing in by name and password, with growing waits after wrong passwords.

Failures are counted per address and name, so that nobody is slowed down by the attempts of others: neither the owner
of a name by somebody who guesses elsewhere, nor colleagues behind one address by one person's mistakes. A browser in
which the account has signed in before (a device) is counted separately for that account, so even somebody who guesses
from the same address does not slow it down.
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
"""Wrong passwords for a name from one address or device before the first wait."""
ADDRESS_TRIES, ADDRESS_SECONDS = 100, 15 * 60
"""After so many wrong passwords from one address within so many seconds, for any names, each name has only one free
attempt from there. Failures of one name never refuse another: a right password at the first attempt always works."""
DEVICE_AGE = timedelta(days=400)
"""Time after the last sign-in at which a device is forgotten; browsers do not keep cookies longer."""
WRONG = ("name or password is wrong", "the name and password chosen at the invitation")


def sign_in(ws: Workspace, name: str, password: str, address: str = "", device: str = "") -> Account:
    """Check a name and password; returns the active account.

    Args:
        ws: the workspace.
        name: the name as typed.
        password: the password as typed.
        address: the network address of the browser; many people may share one.
        device: the secret of the browser, from `know_device`; "" for a new browser.

    Raises:
        SignInFailed: no such name, a wrong password, or a revoked account; the message does not say which.
        TooMany: too many failures for this name from this address or device.
    """
    key = name_key(name)
    with writing(ws.engine) as connection:
        tried = _count_try(connection, key, address, device)
    with reading(ws.engine) as connection:
        row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.name_key == key)).mappings().first()
    is_right = fits(password, row["password_hash"] if row else None)
    if row is None or not is_right or row["state"] != "active":
        raise SignInFailed(*WRONG)
    with writing(ws.engine) as connection:
        tried.forget(connection)
        note_event(connection, row["id"], "signed in", row["id"])
    return account_from(row)


def check_password(ws: Workspace, me: Account, password: str) -> None:
    """Check the password of an account that is signed in; attempts of others elsewhere do not slow this down.

    Raises:
        SignInFailed: the password is wrong.
        TooMany: too many wrong passwords by whoever is signed in.
    """
    with writing(ws.engine) as connection:
        check_wait(connection, "password", me.id, FREE_TRIES)
    with reading(ws.engine) as connection:
        stored = connection.execute(select(ACCOUNTS.c.password_hash).where(ACCOUNTS.c.id == me.id)).scalar()
    if not fits(password, stored):
        raise SignInFailed("the current password is wrong", "the password you signed in with")
    with writing(ws.engine) as connection:
        forget_tries(connection, "password", me.id)


def know_device(ws: Workspace, account_id: str, old_secret: str = "") -> str:
    """Record that an account has signed in with a browser.

    Args:
        ws: the workspace.
        account_id: id of the account.
        old_secret: the secret that the browser sent; it is kept if this app made it, else a new one is made.

    Returns:
        the secret for the browser's cookie.
    """
    now = utc_now()
    with writing(ws.engine) as connection:
        connection.execute(delete(DEVICES).where(DEVICES.c.seen_at < stamp(now - DEVICE_AGE)))
        of_device = select(DEVICES.c.account_id).where(DEVICES.c.token_hash == secret_hash(old_secret))
        accounts = set(connection.execute(of_device).scalars()) if old_secret else set()
        secret = old_secret if accounts else secrets.token_urlsafe(32)
        same_row = (DEVICES.c.token_hash == secret_hash(secret), DEVICES.c.account_id == account_id)
        if account_id in accounts:
            connection.execute(update(DEVICES).where(*same_row).values(seen_at=stamp(now)))
        else:
            row = {"token_hash": secret_hash(secret), "account_id": account_id, "seen_at": stamp(now)}
            connection.execute(insert(DEVICES).values(**row))
    return secret


@dataclass(frozen=True)
class _Attempt:
    """The counters that one attempt was added to."""

    key: str
    """Address or device, and name."""
    from_address: str | None
    """Id of the attempt counted for the address alone; None for a device."""

    def forget(self, connection: Connection) -> None:
        """Remove the attempt from the counters, because it succeeded."""
        forget_tries(connection, "sign in", self.key)
        if self.from_address is not None:
            forget_attempt(connection, self.from_address)


def _count_try(connection: Connection, key: str, address: str, device: str) -> _Attempt:
    """Count an attempt to sign in with a name; TooMany if this address or device has to wait."""
    if _is_known(connection, key, device):
        place_key = f"device {secret_hash(device)}\n{key}"
        check_wait(connection, "sign in", place_key, FREE_TRIES)
        return _Attempt(place_key, None)
    place = place_of_address(address)
    since = utc_now() - timedelta(seconds=ADDRESS_SECONDS)
    num, _ = num_tries(connection, "sign in from", place, since)
    place_key = f"address {place}\n{key}"
    check_wait(connection, "sign in", place_key, FREE_TRIES if num < ADDRESS_TRIES else 1)
    return _Attempt(place_key, count_try(connection, "sign in from", place))


def _is_known(connection: Connection, key: str, device: str) -> bool:
    """Whether the account of this name has signed in on this device."""
    query = (
        select(DEVICES.c.account_id)
        .join(ACCOUNTS, ACCOUNTS.c.id == DEVICES.c.account_id)
        .where(DEVICES.c.token_hash == secret_hash(device), ACCOUNTS.c.name_key == key)
        .where(DEVICES.c.seen_at > stamp(utc_now() - DEVICE_AGE))
    )
    return connection.execute(query).first() is not None
