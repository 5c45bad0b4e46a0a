"""Waiting for people: a run that stays, looks for new answers, and goes on by itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preflab.pipeline import Line
    from preflab.store.workspace import Workspace

SECONDS_BETWEEN = 3.0
"""Seconds between two looks at the database."""


def until_answered(
    folder: Path, lines: list[Line], again: Callable[[], list[Line]], pause: float = SECONDS_BETWEEN
) -> list[Line]:
    """Look for new judgments until no stage waits for people; `again` does what has become possible.

    Ctrl-C ends it at any moment: answers are in the database, and nothing else is under way.
    """
    from preflab.store.opening import opened

    with opened(folder, create=True) as store:
        while waiting := [line for line in lines if line.state == "waiting"]:
            said = "; ".join(f"{line.name}: {line.summary}" for line in waiting)
            print(f"waiting for people. {said}. {_where(waiting)}Ctrl-C stops waiting", file=sys.stderr, flush=True)
            _until_news(store, pause)
            lines = again()
    return lines


def _where(waiting: Sequence[Line]) -> str:
    links = " ".join(line.link for line in waiting if line.link)
    return f"{links} (`preflab label` serves it). " if links else ""


def _until_news(store: Workspace, pause: float) -> None:
    """Returns once there are more judgments than when it was called."""
    before = _num_judgments(store)
    while _num_judgments(store) == before:
        time.sleep(pause)


def _num_judgments(store: Workspace) -> int:
    from preflab.store.database import reading
    from preflab.store.reading import count
    from preflab.store.rows import BY_NAME

    with reading(store.engine) as connection:
        return count(connection, BY_NAME["judgment"].table)
