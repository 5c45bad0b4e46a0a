"""Rate limits that hold across processes and restarts, since they are counted in the database."""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta

from sqlalchemy import Connection, delete, func, insert, select

from preflab.labelling.clock import moment_of, stamp, utc_now
from preflab.labelling.errors import TooMany
from preflab.labelling.tables import ATTEMPTS
from preflab.records import random_id

KEPT = timedelta(days=1)
"""Attempts older than this are forgotten."""


def check_rate(connection: Connection, kind: str, key: str, limit: int, seconds: float) -> str:
    """Count an attempt, at most `limit` of one kind and key within the last `seconds`.

    The attempt counts once the transaction is committed: give it a transaction of its own, before the attempt is made.

    Returns:
        the attempt's id, for `forget_attempt`.

    Raises:
        TooMany: the limit is reached; `retry_after` says how long to wait.
    """
    now, hashed = utc_now(), hashlib.sha256(f"{kind}\n{key}".encode()).hexdigest()
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.at < stamp(now - KEPT)))
    query = select(func.count(), func.min(ATTEMPTS.c.at)).where(
        ATTEMPTS.c.kind == kind, ATTEMPTS.c.key == hashed, ATTEMPTS.c.at > stamp(now - timedelta(seconds=seconds))
    )
    num, oldest = connection.execute(query).one()
    if num >= limit:
        wait = seconds - (now - moment_of(oldest)).total_seconds()
        raise TooMany(max(1, math.ceil(wait)))
    attempt = random_id("attempt")
    connection.execute(insert(ATTEMPTS).values(id=attempt, kind=kind, key=hashed, at=stamp(now)))
    return attempt


def forget_attempt(connection: Connection, attempt: str) -> None:
    """An attempt that succeeded is not held against anyone."""
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.id == attempt))
