"""Moments as the database keeps them: ISO 8601 text, UTC, milliseconds, so that they compare as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """`2026-11-20T12:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """The moment of a stamp."""
    return datetime.fromisoformat(text)


def after(moment: datetime, **duration: float) -> str:
    """The stamp of a later moment: `after(now, minutes=30)`."""
    return stamp(moment + timedelta(**duration))
