"""The labels of a campaign that count, and what was computed from them, kept until new ones come in.

A campaign of 10,000 judgments takes seconds to read out; a dashboard that is opened again should not take them again.
Judgments are append-only, so their number and the options' revision name a state.
"""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from threading import Lock, RLock
from typing import Any, TypeVar

from sqlalchemy import func, select

from preflab.labelling.campaign_rows import running
from preflab.labelling.tables import JUDGMENTS
from preflab.records import Judgment
from preflab.store.database import reading
from preflab.store.workspace import Workspace

Found = TypeVar("Found")
Key = tuple[str, ...]
KEPT = 64
"""Results kept in memory, the longest unused forgotten first."""
PATIENCE = 10.0
"""A result is served for this many times as long as it took, even if a few labels came in meanwhile."""


@dataclass(frozen=True)
class _Kept:
    state: tuple[object, ...]
    value: Any
    at: float
    took: float


_kept: OrderedDict[Key, _Kept] = OrderedDict()
_computing: dict[Key, RLock] = {}
_lock = Lock()


def kept(ws: Workspace, campaign_id: str, what: str, compute: Callable[[], Found], *also: object) -> Found:
    """`compute()`, or what it gave for the same judgments before.

    Args:
        what: names the computation.
        also: whatever else the result depends on (options, gold answers).
    """
    key = (str(ws.engine.url), str(ws.path), campaign_id, what)
    state = (num_judgments(ws, campaign_id), *also)
    now = time.monotonic()
    with _lock:
        cached = _kept.get(key)
        if cached and (
            cached.state == state or (cached.state[1:] == state[1:] and now - cached.at < PATIENCE * cached.took)
        ):
            _kept.move_to_end(key)
            value: Found = cached.value
            return value
    with _lock:
        computing = _computing.setdefault(key, RLock())
    with computing:
        return _computed(key, state, now, compute)


def _computed(key: Key, state: tuple[object, ...], asked: float, compute: Callable[[], Found]) -> Found:
    """Compute and keep, unless another thread has done it since it was asked for."""
    with _lock:
        cached = _kept.get(key)
    if cached and cached.at >= asked and cached.state == state:
        done: Found = cached.value
        return done
    started = time.monotonic()
    value = compute()
    with _lock:
        _kept[key] = _Kept(state, value, time.monotonic(), time.monotonic() - started)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return value


def num_judgments(ws: Workspace, campaign_id: str) -> int:
    """How many judgments there are, every revision and every decision counted."""
    with reading(ws.engine) as connection:
        query = select(func.count()).select_from(JUDGMENTS).where(JUDGMENTS.c.campaign_id == campaign_id)
        return int(connection.execute(query).scalar_one())


@dataclass(frozen=True)
class Labels:
    """The judgments of a campaign, sorted out: each with the active time of all revisions before it."""

    counted: tuple[Judgment, ...]
    """The latest revision of each labeler on each task; no surplus, no decisions, AI judges only where they count."""
    decisions: tuple[Judgment, ...]
    """The latest decision of each adjudicator on each task."""
    surplus: tuple[Judgment, ...]
    """Latest revisions that came after the quota was met."""
    ai: tuple[Judgment, ...] = ()
    """Latest revisions of AI judges where they do not count: read beside people's labels, never among them."""


def labels_of(ws: Workspace, campaign_id: str) -> Labels:
    """All judgments of a campaign, sorted out; kept until another one comes in."""
    with reading(ws.engine) as connection:
        count_ai = running(connection, campaign_id).options.count_ai

    def compute() -> Labels:
        return sorted_out(ws.judgments(campaign_id=campaign_id, all_revisions=True), count_ai)

    return kept(ws, campaign_id, "labels", compute, count_ai)


def sorted_out(judgments: Iterable[Judgment], count_ai: bool = False) -> Labels:
    """What counts, what decides, what is surplus, what AI judges say.

    A decision never takes the place of what the same person answered as a labeler: the two are told apart first.
    """
    revisions: dict[tuple[str, str, bool], list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        revisions[judgment.task_id, judgment.labeler_id, judgment.decides].append(judgment)
    ordered = [_latest(revisions[key]) for key in sorted(revisions)]
    labels = [judgment for judgment in ordered if not judgment.decides]
    asked = [judgment for judgment in labels if count_ai or judgment.labeler_kind != "ai"]
    return Labels(
        counted=tuple(judgment for judgment in asked if not judgment.surplus),
        decisions=tuple(judgment for judgment in ordered if judgment.decides),
        surplus=tuple(judgment for judgment in asked if judgment.surplus),
        ai=() if count_ai else tuple(judgment for judgment in labels if judgment.labeler_kind == "ai"),
    )


def _latest(revisions: list[Judgment]) -> Judgment:
    """The last revision, with the time that all of them took: an edit is measured from its own beginning."""
    last = max(revisions, key=lambda judgment: judgment.revision)
    return last if len(revisions) == 1 else replace(last, active_ms=sum(each.active_ms for each in revisions))
