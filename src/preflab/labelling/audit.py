"""Who did what to what, and when: written in the transaction of the change, append-only, and free of personal data."""

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
    """Account id or labeler id; "" for the command line."""
    what: str
    """`campaign created`, `role changed`, …"""
    about: str
    """Id of what was changed."""
    old: Values
    new: Values


def note_event(
    connection: Connection, actor: str, what: str, about: str, old: Values = None, new: Values = None
) -> None:
    """Write an event inside the caller's transaction; ids and settings only, never a person's name or address."""
    values = {"actor": actor, "what": what, "about": about, "old": _json(old), "new": _json(new)}
    connection.execute(insert(EVENTS).values(at=stamp(utc_now()), **values))


def events(ws: Workspace, limit: int = 100, before: int | None = None, about: str | None = None) -> list[Event]:
    """The newest events first.

    Args:
        ws: the workspace.
        limit: how many at most.
        before: only events with a smaller id, for the next page.
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
