"""Times as the database stores them: ISO 8601 text in UTC with milliseconds, so that they can be compared as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """A time as text: `2026-11-20T12:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """The time that a stamp describes."""
    return datetime.fromisoformat(text)


def after(moment: datetime, **duration: float) -> str:
    """The stamp of a later time: `after(now, minutes=30)`."""
    return stamp(moment + timedelta(**duration))
