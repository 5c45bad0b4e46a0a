"""The audit log: who changed what, and when.

Events are written in the transaction of the change, are never changed afterwards, and hold no personal data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from preflab.labelling.clock import stamp, utc_now
from preflab.labelling.tables import EVENTS
from preflab.store.database import reading
from preflab.store.workspace import Workspace

Values = Mapping[str, Any] | None


@dataclass(frozen=True)
class Event:
    """One change."""

    id: int
    at: str
    actor: str
    """Id of the account or labeler that made the change; "" for the command line."""
    what: str
    """`campaign created`, `role changed`, …"""
    about: str
    """Id of the changed object."""
    old: Values
    new: Values


def note_event(
    connection: Connection, actor: str, what: str, about: str, old: Values = None, new: Values = None
) -> None:
    """Write an event inside the caller's transaction; ids and settings only, never a person's name or address."""
    values = {"actor": actor, "what": what, "about": about, "old": _json(old), "new": _json(new)}
    connection.execute(insert(EVENTS).values(at=stamp(utc_now()), **values))


def events(ws: Workspace, limit: int = 100, before: int | None = None, about: str | None = None) -> list[Event]:
    """Events of the log, newest first.

    Args:
        ws: the workspace.
        limit: number of events, at most.
        before: only events with a smaller id than this, to read the next page.
        about: only events about this id.
    """
    query = select(EVENTS).order_by(EVENTS.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(EVENTS.c.id < before)
    if about is not None:
        query = query.where(EVENTS.c.about == about)
    with reading(ws.engine) as connection:
        return [Event(**row) for row in connection.execute(query).mappings()]


def _json(values: Values) -> dict[str, Any] | None:
    return None if values is None else dict(values)
