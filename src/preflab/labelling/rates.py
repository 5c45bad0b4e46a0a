"""Rate limits that hold across processes and restarts, since attempts are counted in the database.

An attempt with a time in the future was made while the clock was ahead. It is deleted, so that setting the clock back
locks nobody out. A wait is never longer than `LONGEST_WAIT` or the period of the limit, whatever the clock says.
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
"""Attempts older than this are deleted."""
SKEW = timedelta(minutes=1)
"""Largest difference allowed between the clocks of two servers on one database."""
FIRST_WAIT, LONGEST_WAIT = 10.0, 15 * 60.0
"""Seconds to wait after the first failure that is not free, and the longest wait."""


def check_rate(connection: Connection, kind: str, key: str, limit: int, seconds: float) -> str:
    """Count an attempt, and refuse it if `limit` attempts of this kind and key were made within the last `seconds`.

    The attempt counts once the transaction is committed: use a separate transaction, before the attempt is made.

    Returns:
        the attempt's id, for `forget_attempt`.

    Raises:
        TooMany: the limit is reached; `retry_after` says how long to wait.
    """
    now = _forget_old(connection)
    num, oldest = num_tries(connection, kind, key, now - timedelta(seconds=seconds))
    if num >= limit:
        _refuse(seconds - (now - moment_of(str(oldest))).total_seconds(), seconds)
    return _add_attempt(connection, kind, key, now)


def check_wait(connection: Connection, kind: str, key: str, free: int) -> str:
    """Count an attempt; the first `free` attempts need no wait, then each wait is twice as long as the last.

    A refused attempt does not count. For the transaction and the result see `check_rate`.

    Raises:
        TooMany: the wait is not over; `retry_after` gives the remaining seconds.
    """
    now, key_hash = _forget_old(connection), _hash_key(kind, key)
    same_key = (ATTEMPTS.c.kind == kind, ATTEMPTS.c.key == key_hash)
    num, last = connection.execute(select(func.count(), func.max(ATTEMPTS.c.at)).where(*same_key)).one()
    if num:
        _refuse(wait_after(num, free) - (now - moment_of(last)).total_seconds(), LONGEST_WAIT)
    return _add_attempt(connection, kind, key, now)


def wait_after(num_failures: int, free: int) -> float:
    """Seconds to wait after so many failures: 0 while attempts are free, then 10, 20, 40, … up to 15 minutes."""
    if num_failures < free:
        return 0.0
    doublings = min(num_failures - free, 32)  # keeps the power small; the longest wait is reached long before
    return min(LONGEST_WAIT, FIRST_WAIT * 2**doublings)


def num_tries(connection: Connection, kind: str, key: str, since: datetime) -> tuple[int, str | None]:
    """The number of attempts since a time, and the time of the first of them."""
    query = select(func.count(), func.min(ATTEMPTS.c.at)).where(
        ATTEMPTS.c.kind == kind, ATTEMPTS.c.key == _hash_key(kind, key), ATTEMPTS.c.at > stamp(since)
    )
    num, oldest = connection.execute(query).one()
    return int(num), oldest


def forget_attempt(connection: Connection, attempt: str) -> None:
    """Delete one attempt, because it succeeded."""
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.id == attempt))


def forget_tries(connection: Connection, kind: str, key: str) -> None:
    """Delete all attempts of a kind and key, because the person has given the right password."""
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.kind == kind, ATTEMPTS.c.key == _hash_key(kind, key)))


def place_of_address(address: str) -> str:
    """The key by which attempts are counted: an IPv4 address, or the /64 network of an IPv6 address.

    One customer of an IPv6 provider usually has a whole /64 network.
    """
    try:
        address_read = ip_address(address)
    except ValueError:
        return address
    if isinstance(address_read, IPv6Address):
        if address_read.ipv4_mapped is not None:
            return str(address_read.ipv4_mapped)
        return str(IPv6Network((int(address_read), 64), strict=False))
    return str(address_read)


def _forget_old(connection: Connection) -> datetime:
    """Delete attempts that are too old or lie in the future; returns the current time."""
    now = utc_now()
    outdated = or_(ATTEMPTS.c.at < stamp(now - KEPT), ATTEMPTS.c.at > stamp(now + SKEW))
    connection.execute(delete(ATTEMPTS).where(outdated))
    return now


def count_try(connection: Connection, kind: str, key: str) -> str:
    """Count an attempt without checking a limit; returns its id."""
    return _add_attempt(connection, kind, key, _forget_old(connection))


def _add_attempt(connection: Connection, kind: str, key: str, now: datetime) -> str:
    attempt = random_id("attempt")
    connection.execute(insert(ATTEMPTS).values(id=attempt, kind=kind, key=_hash_key(kind, key), at=stamp(now)))
    return attempt


def _refuse(wait: float, longest: float) -> None:
    """Raise TooMany if the wait is not over."""
    if wait > 0:
        raise TooMany(max(1, math.ceil(min(wait, longest))))


def _hash_key(kind: str, key: str) -> str:
    return hashlib.sha256(f"{kind}\n{key}".encode()).hexdigest()
