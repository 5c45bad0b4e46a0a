"""`run --wait`: poll the database for people's judgments and go on when they are there."""

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
"""Seconds between two reads of the database."""
SECONDS_AT_MOST = 60.0
"""Once this many seconds have passed, any new judgment makes the stages run again, even if no campaign looks done."""


def wait_for_answers(
    folder: Path, lines: list[Line], again: Callable[[], list[Line]], pause: float = SECONDS_BETWEEN
) -> list[Line]:
    """Wait until no stage waits for people; `again` runs the stages that have become possible.

    Polling reads a few numbers and locks nothing. Ctrl-C is safe at any moment: the answers are in the database, and no
    stage is running.
    """
    from preflab.store.opening import opened

    with opened(folder, create=True) as store:
        while waiting := [line for line in lines if line.state == "waiting"]:
            summary = "; ".join(f"{line.name}: {line.summary}" for line in waiting)
            print(f"waiting for people. {summary}. {_links(waiting)}Ctrl-C stops waiting", file=sys.stderr, flush=True)
            _wait_for_judgments(store, waiting, pause)
            lines = again()
    return lines


def _links(waiting: Sequence[Line]) -> str:
    links = " ".join(line.link for line in waiting if line.link)
    return f"{links} (`preflab label` serves it). " if links else ""


def _wait_for_judgments(store: Workspace, waiting: Sequence[Line], pause: float) -> None:
    """Return once there are new judgments and either a campaign looks done or SECONDS_AT_MOST have passed."""
    before, began = _num_judgments(store), time.monotonic()
    while True:
        news = _num_judgments(store) != before
        if news and (any(_looks_done(store, line) for line in waiting) or time.monotonic() - began > SECONDS_AT_MOST):
            return
        time.sleep(pause)


def _looks_done(store: Workspace, line: Line) -> bool:
    """Whether the line's campaign has all its labels; True if there is no such campaign, so that the stage decides."""
    from preflab.labelling.campaigns import campaign_view
    from preflab.labelling.errors import NotFound

    try:
        view = campaign_view(store, line.link.rpartition("/c/")[2])
    except NotFound:
        return True
    return view.num_done >= view.num_tasks


def _num_judgments(store: Workspace) -> int:
    from preflab.store.database import reading
    from preflab.store.record_reading import count
    from preflab.store.rows import BY_NAME

    with reading(store.engine) as connection:
        return count(connection, BY_NAME["judgment"].table)
