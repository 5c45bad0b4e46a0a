"""The labels of a campaign that count, and a cache of results computed from them, valid until new labels come in.

Evaluating a campaign of 10,000 judgments takes seconds, so a dashboard should not repeat it on every visit. Judgments
are append-only: their number, with the options that a result depends on, identifies a state of the cache.
"""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from threading import Lock, RLock
from typing import Any, TypeVar

from sqlalchemy import func, select

from preflab.labelling.campaign_rows import read_running
from preflab.labelling.tables import JUDGMENTS
from preflab.records import Judgment
from preflab.store.database import reading
from preflab.store.workspace import Workspace

Result = TypeVar("Result")
Key = tuple[str, ...]
KEPT = 64
"""Results kept in memory; the least recently used is dropped first."""
PATIENCE = 10.0
"""A result may be reused for this many times its computing time, even if labels have come in meanwhile."""


@dataclass(frozen=True)
class _CacheEntry:
    state: tuple[object, ...]
    value: Any
    at: float
    took: float


_cache: OrderedDict[Key, _CacheEntry] = OrderedDict()
_computing: dict[Key, RLock] = {}
_lock = Lock()


def cached(
    ws: Workspace, campaign_id: str, what: str, compute: Callable[[], Result], *also: object, exact: bool = False
) -> Result:
    """The result of `compute()`, from the cache if the judgments are the same or the result is recent (`PATIENCE`).

    Pages may show a recent result. Whatever is stored, exported or cached itself needs an exact one: a cached result
    that was computed from older labels would be taken for the current one until the next label.

    Args:
        ws: the workspace.
        campaign_id: the campaign whose judgments the result depends on.
        what: name of the computation.
        compute: computes the result.
        also: everything else the result depends on (options, gold answers).
        exact: never reuse a result from before the latest judgment.
    """
    key = (str(ws.engine.url), str(ws.path), campaign_id, what)
    state = (num_judgments(ws, campaign_id), *also)
    now = time.monotonic()
    with _lock:
        entry = _cache.get(key)
        if entry and (entry.state == state or (not exact and _is_recent(entry, state, now))):
            _cache.move_to_end(key)
            value: Result = entry.value
            return value
    with _lock:
        computing = _computing.setdefault(key, RLock())
    with computing:
        return _compute_once(key, state, now, compute)


def _is_recent(entry: _CacheEntry, state: tuple[object, ...], now: float) -> bool:
    """True if only the judgments have changed since, and the result is recent for its computing time."""
    return entry.state[1:] == state[1:] and now - entry.at < PATIENCE * entry.took


def _compute_once(key: Key, state: tuple[object, ...], asked: float, compute: Callable[[], Result]) -> Result:
    """Compute and store the result, unless another thread has computed it since the time `asked`."""
    with _lock:
        entry = _cache.get(key)
    if entry and entry.at >= asked and entry.state == state:
        done: Result = entry.value
        return done
    started = time.monotonic()
    value = compute()
    with _lock:
        _cache[key] = _CacheEntry(state, value, time.monotonic(), time.monotonic() - started)
        while len(_cache) > KEPT:
            _cache.popitem(last=False)
    return value


def num_judgments(ws: Workspace, campaign_id: str) -> int:
    """The number of stored judgments, including every revision and every decision."""
    with reading(ws.engine) as connection:
        query = select(func.count()).select_from(JUDGMENTS).where(JUDGMENTS.c.campaign_id == campaign_id)
        return int(connection.execute(query).scalar_one())


@dataclass(frozen=True)
class Labels:
    """The judgments of a campaign, sorted by how they count; each holds the active time of all its revisions."""

    counted: tuple[Judgment, ...]
    """The latest revision of each labeler on each task, without surplus, decisions and AI judges that do not count."""
    decisions: tuple[Judgment, ...]
    """The latest decision of each adjudicator on each task."""
    surplus: tuple[Judgment, ...]
    """Latest revisions that came after the quota was met."""
    ai: tuple[Judgment, ...] = ()
    """Latest revisions of AI judges that do not count; compared with people's labels, never mixed with them."""


def labels_of(ws: Workspace, campaign_id: str, *, exact: bool = False) -> Labels:
    """All judgments of a campaign, sorted by how they count; `cached`, with `exact` up to the latest judgment."""
    with reading(ws.engine) as connection:
        count_ai = read_running(connection, campaign_id).options.count_ai

    def compute() -> Labels:
        return sort_labels(ws.judgments(campaign_id=campaign_id, all_revisions=True), count_ai)

    return cached(ws, campaign_id, "labels", compute, count_ai, exact=exact)


def sort_labels(judgments: Iterable[Judgment], count_ai: bool = False) -> Labels:
    """Sort judgments into counted labels, decisions, surplus and AI judges' labels.

    A decision never replaces the label of the same person, since the two are separated before the latest revision is
    chosen.
    """
    revisions: dict[tuple[str, str, bool], list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        revisions[judgment.task_id, judgment.labeler_id, judgment.decides].append(judgment)
    ordered = [_latest(revisions[key]) for key in sorted(revisions)]
    labels = [judgment for judgment in ordered if not judgment.decides]
    eligible = [judgment for judgment in labels if count_ai or judgment.labeler_kind != "ai"]
    return Labels(
        counted=tuple(judgment for judgment in eligible if not judgment.surplus),
        decisions=tuple(judgment for judgment in ordered if judgment.decides),
        surplus=tuple(judgment for judgment in eligible if judgment.surplus),
        ai=() if count_ai else tuple(judgment for judgment in labels if judgment.labeler_kind == "ai"),
    )


def _latest(revisions: list[Judgment]) -> Judgment:
    """The last revision, with the active times of all revisions added up, since each one is timed separately."""
    last = max(revisions, key=lambda judgment: judgment.revision)
    return last if len(revisions) == 1 else replace(last, active_ms=sum(r.active_ms for r in revisions))
