"""Limits that hold across processes and restarts, since tries are counted in the database.

A try whose moment lies in the future was made while the clock was ahead. It is forgotten, so that a clock that is set
back locks nobody out; and no wait is longer than the longest one, wherever the clock stands.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address

from sqlalchemy import Connection, delete, func, insert, or_, select

from preflab.labelling.clock import moment_of, stamp, utc_now
from preflab.labelling.errors import TooMany
from preflab.labelling.tables import ATTEMPTS
from preflab.records import random_id

KEPT = timedelta(days=1)
"""Tries older than this are forgotten."""
SKEW = timedelta(minutes=1)
"""So far the clocks of two servers on one database may differ."""
FIRST_WAIT, LONGEST_WAIT = 10.0, 15 * 60.0
"""Seconds to wait after the first failure that is not free, and at most."""


def check_rate(connection: Connection, kind: str, key: str, limit: int, seconds: float) -> str:
    """Count a try, at most `limit` of one kind and key within the last `seconds`.

    The try counts once the transaction is committed: give it a transaction of its own, before the try is made.

    Returns:
        the try's id, for `forget_attempt`.

    Raises:
        TooMany: the limit is reached; `retry_after` says how long to wait.
    """
    now = _forgetting(connection)
    num, oldest = num_tries(connection, kind, key, now - timedelta(seconds=seconds))
    if num >= limit:
        _refuse(seconds - (now - moment_of(str(oldest))).total_seconds(), seconds)
    return _counted(connection, kind, key, now)


def check_wait(connection: Connection, kind: str, key: str, free: int) -> str:
    """Count a try, `free` of one kind and key at once and each further one after a wait twice as long as the last.

    A try that is refused does not count. The transaction and the result are as those of `check_rate`.

    Raises:
        TooMany: the wait is not over; `retry_after` says how long it still is.
    """
    now, hashed = _forgetting(connection), _hashed(kind, key)
    mine = (ATTEMPTS.c.kind == kind, ATTEMPTS.c.key == hashed)
    num, last = connection.execute(select(func.count(), func.max(ATTEMPTS.c.at)).where(*mine)).one()
    if num:
        _refuse(wait_after(num, free) - (now - moment_of(last)).total_seconds(), LONGEST_WAIT)
    return _counted(connection, kind, key, now)


def wait_after(num_failures: int, free: int) -> float:
    """Seconds between the last of so many failures and the next try: 0, then 10, 20, 40, … up to 15 minutes."""
    if num_failures < free:
        return 0.0
    doublings = min(num_failures - free, 32)  # beyond that the longest wait is reached in any case
    return min(LONGEST_WAIT, FIRST_WAIT * 2**doublings)


def num_tries(connection: Connection, kind: str, key: str, since: datetime) -> tuple[int, str | None]:
    """How many tries there were since a moment, and when the first of them was."""
    query = select(func.count(), func.min(ATTEMPTS.c.at)).where(
        ATTEMPTS.c.kind == kind, ATTEMPTS.c.key == _hashed(kind, key), ATTEMPTS.c.at > stamp(since)
    )
    num, oldest = connection.execute(query).one()
    return int(num), oldest


def forget_attempt(connection: Connection, attempt: str) -> None:
    """A try that succeeded is not held against anyone."""
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.id == attempt))


def forget_tries(connection: Connection, kind: str, key: str) -> None:
    """All tries of a kind and key are forgotten: their maker has shown who it is."""
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.kind == kind, ATTEMPTS.c.key == _hashed(kind, key)))


def place_of_address(address: str) -> str:
    """What tries are counted by: an IPv4 address; of IPv6 the network of a customer, who has 2⁶⁴ addresses in it."""
    try:
        address_read = ip_address(address)
    except ValueError:
        return address
    if isinstance(address_read, IPv6Address):
        if address_read.ipv4_mapped is not None:
            return str(address_read.ipv4_mapped)
        return str(IPv6Network((int(address_read), 64), strict=False))
    return str(address_read)


def _forgetting(connection: Connection) -> datetime:
    """This moment; tries of long ago, and of a clock that was ahead, are deleted."""
    now = utc_now()
    gone = or_(ATTEMPTS.c.at < stamp(now - KEPT), ATTEMPTS.c.at > stamp(now + SKEW))
    connection.execute(delete(ATTEMPTS).where(gone))
    return now


def count_try(connection: Connection, kind: str, key: str) -> str:
    """Count a try that nothing limits; returns its id."""
    return _counted(connection, kind, key, _forgetting(connection))


def _counted(connection: Connection, kind: str, key: str, now: datetime) -> str:
    attempt = random_id("attempt")
    connection.execute(insert(ATTEMPTS).values(id=attempt, kind=kind, key=_hashed(kind, key), at=stamp(now)))
    return attempt


def _refuse(wait: float, longest: float) -> None:
    """Raise if there is anything left to wait."""
    if wait > 0:
        raise TooMany(max(1, math.ceil(min(wait, longest))))


def _hashed(kind: str, key: str) -> str:
    return hashlib.sha256(f"{kind}\n{key}".encode()).hexdigest()
