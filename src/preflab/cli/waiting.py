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
SECONDS_AT_MOST = 60.0
"""After so many seconds with new judgments the stages are asked again, done or not: they know best."""


def until_answered(
    folder: Path, lines: list[Line], again: Callable[[], list[Line]], pause: float = SECONDS_BETWEEN
) -> list[Line]:
    """Look for new judgments until no stage waits for people; `again` does what has become possible.

    A look reads two numbers and gets in nobody's way. Ctrl-C ends it at any moment: answers are in the database, and
    nothing else is under way.
    """
    from preflab.store.opening import opened

    with opened(folder, create=True) as store:
        while waiting := [line for line in lines if line.state == "waiting"]:
            summary = "; ".join(f"{line.name}: {line.summary}" for line in waiting)
            print(f"waiting for people. {summary}. {_where(waiting)}Ctrl-C stops waiting", file=sys.stderr, flush=True)
            _until_news(store, waiting, pause)
            lines = again()
    return lines


def _where(waiting: Sequence[Line]) -> str:
    links = " ".join(line.link for line in waiting if line.link)
    return f"{links} (`preflab label` serves it). " if links else ""


def _until_news(store: Workspace, waiting: Sequence[Line], pause: float) -> None:
    """Returns when a campaign looks done, or has had new judgments for a while."""
    before, began = _num_judgments(store), time.monotonic()
    while True:
        news = _num_judgments(store) != before
        if news and (any(_looks_done(store, line) for line in waiting) or time.monotonic() - began > SECONDS_AT_MOST):
            return
        time.sleep(pause)


def _looks_done(store: Workspace, line: Line) -> bool:
    """Whether the campaign behind the line has its labels; True where only the stage itself can tell."""
    from preflab.labelling.campaigns import campaign_view
    from preflab.labelling.errors import NotFound

    try:
        view = campaign_view(store, line.link.rpartition("/c/")[2])
    except NotFound:
        return True
    return view.num_done >= view.num_tasks


def _num_judgments(store: Workspace) -> int:
    from preflab.store.database import reading
    from preflab.store.reading import count
    from preflab.store.rows import BY_NAME

    with reading(store.engine) as connection:
        return count(connection, BY_NAME["judgment"].table)
