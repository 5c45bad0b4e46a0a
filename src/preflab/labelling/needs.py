"""Progress, pace and cost of a campaign, and the number of labels that a target needs.

All figures about the future are estimates: the pace is that of the last week, and the accuracy from more labels per
task follows from the agreement measured so far.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import case, func, select

from preflab.feedback.agreement import Counts, Share, rate
from preflab.feedback.asking import labels_for_accuracy
from preflab.labelling.adjudication import campaign_consensus
from preflab.labelling.campaigns import campaign_view
from preflab.labelling.counting import labels_of
from preflab.labelling.quality import campaign_quality
from preflab.labelling.reading import gold_answers
from preflab.labelling.tables import TASK_STATES
from preflab.records import Judgment, Preference
from preflab.store.database import reading
from preflab.store.workspace import Workspace

WEEK = timedelta(days=7)
SHORTEST = timedelta(hours=1)
"""The shortest period from which a pace is computed."""


@dataclass(frozen=True)
class Progress:
    """Tasks and labels: how many are wanted, and how many are done."""

    num_tasks: int
    num_done: int
    """Tasks that have all the wanted labels."""
    num_labels: int
    """Labels that count, at most as many as wanted on each task."""
    num_wanted: int
    """Labels wanted over all tasks."""

    @property
    def num_left(self) -> int:
        """Labels still wanted."""
        return max(0, self.num_wanted - self.num_labels)


@dataclass(frozen=True)
class Pace:
    """Labels per day, over the last week or since the first label."""

    per_day: float
    num: int
    """Labels in the period."""
    days: float
    """Length of the period."""


@dataclass(frozen=True)
class Cost:
    """Cost of the labels so far, including judgments that do not count, since they took working time too."""

    hours: float
    """Active time measured on the labelling page."""
    num_timed: int
    """Judgments with a measured time."""
    num_judgments: int
    money: float | None
    """hours · hourly cost; None if no hourly cost is set."""
    currency: str
    num_pairs: int
    """Pairs that the consensus decides."""

    @property
    def pairs_per_hour(self) -> float | None:
        """Decided pairs per hour of labelling; None if no time was measured."""
        return self.num_pairs / self.hours if self.hours > 0 else None

    @property
    def money_per_pair(self) -> float | None:
        """Money per decided pair; None if no hourly cost is set or no pair is decided."""
        return self.money / self.num_pairs if self.money is not None and self.num_pairs else None


@dataclass(frozen=True)
class Need:
    """How many more labels a target needs; `labels` is None if it cannot be said, or no number of labels is enough."""

    labels: int | None
    overlap: int | None = None
    """For a target accuracy: labels per task that reach it."""
    num_tasks: int | None = None
    """For a target of pairs: estimated number of tasks needed beyond those of the campaign."""
    rate: Share | None = None
    """For a target of pairs: decided pairs per label so far."""


def progress(ws: Workspace, campaign_id: str) -> Progress:
    """Progress of a campaign, without gold tasks, from the counters stored with its tasks."""
    capped = case((TASK_STATES.c.num_done > TASK_STATES.c.wanted, TASK_STATES.c.wanted), else_=TASK_STATES.c.num_done)
    query = select(
        func.count(),
        func.coalesce(func.sum(case((TASK_STATES.c.num_done >= TASK_STATES.c.wanted, 1), else_=0)), 0),
        func.coalesce(func.sum(capped), 0),
        func.coalesce(func.sum(TASK_STATES.c.wanted), 0),
    ).where(TASK_STATES.c.campaign_id == campaign_id, TASK_STATES.c.is_gold.is_(False))
    with reading(ws.engine) as connection:
        return Progress(*(int(value) for value in connection.execute(query).one()))


def pace(times: Sequence[str], now: datetime) -> Pace | None:
    """Labels per day over the last 7 days, or since the first label if that is later; None without recent labels.

    per_day = labels in the period / days from its start until now (at least one hour).
    """
    recent = sorted(time for time in map(moment, times) if time >= now - WEEK)
    if not recent:
        return None
    has_earlier = len(recent) < len(times)
    start = now - WEEK if has_earlier else recent[0]
    days = max(now - start, SHORTEST) / timedelta(days=1)
    return Pace(len(recent) / days, len(recent), days)


def enough_at(num_left: int, current: Pace | None, now: datetime) -> datetime | None:
    """The time at which the last wanted label arrives at this pace; None without a pace or if nothing is left."""
    if current is None or num_left == 0:
        return None
    return now + timedelta(days=num_left / current.per_day)


def campaign_pace(ws: Workspace, campaign_id: str, now: datetime | None = None) -> Pace | None:
    """The pace of the labels that count; without gold tasks, which `progress` does not count either."""
    gold = gold_answers(ws, campaign_id)
    labels = [label for label in labels_of(ws, campaign_id).counted if label.task_id not in gold]
    return pace([label.created_at for label in labels if label.created_at], now or _now())


def cost(ws: Workspace, campaign_id: str) -> Cost:
    """The cost of a campaign so far: hours, money and decided pairs."""
    options = campaign_view(ws, campaign_id).options
    labels = labels_of(ws, campaign_id)
    judgments = (*labels.counted, *labels.surplus, *labels.decisions)
    pairs = num_decided(each.preference for each in campaign_consensus(ws, campaign_id).values())
    return cost_of(judgments, pairs, options.hourly_cost, options.currency)


def cost_of(judgments: Sequence[Judgment], num_pairs: int, hourly_cost: float, currency: str) -> Cost:
    """The cost of these judgments: hours = Σ active time; money = hours · hourly cost."""
    timed = [judgment for judgment in judgments if judgment.active_ms > 0]
    hours = sum(judgment.active_ms for judgment in timed) / 3_600_000
    money = hours * hourly_cost if hourly_cost > 0 else None
    return Cost(hours, len(timed), len(judgments), money, currency, num_pairs)


def labels_needed(
    ws: Workspace, campaign_id: str, *, accuracy: float | None = None, num_pairs: int | None = None
) -> Need:
    """How many more labels a target needs: an accuracy of the consensus, or a number of decided pairs.

    Raises:
        ValueError: none or both of the targets are given.
    """
    if (accuracy is None) == (num_pairs is None):
        raise ValueError("one target: an accuracy, or a number of pairs")
    if accuracy is not None:
        strict = campaign_quality(ws, campaign_id).agreement.strict.value
        return _need_for_accuracy(ws, campaign_id, strict, accuracy)
    preferences = {task: consensus.preference for task, consensus in campaign_consensus(ws, campaign_id).items()}
    counted = labels_of(ws, campaign_id).counted
    return need_for_pairs(preferences, counted, num_pairs or 0, progress(ws, campaign_id))


def _need_for_accuracy(ws: Workspace, campaign_id: str, strict: float | None, target: float) -> Need:
    overlap = None if strict is None else labels_for_accuracy(strict, target)
    return Need(None) if overlap is None else Need(labels_missing(ws, campaign_id, overlap), overlap=overlap)


def labels_missing(ws: Workspace, campaign_id: str, overlap: int) -> int:
    """Labels missing for `overlap` labels on each task: Σ_tasks max(0, overlap − labels of the task)."""
    missing = case((TASK_STATES.c.num_done < overlap, overlap - TASK_STATES.c.num_done), else_=0)
    with reading(ws.engine) as connection:
        query = select(func.coalesce(func.sum(missing), 0)).where(
            TASK_STATES.c.campaign_id == campaign_id, TASK_STATES.c.is_gold.is_(False)
        )
        return int(connection.execute(query).scalar_one())


def need_for_pairs(
    preferences: Mapping[str, Preference], counted: Sequence[Judgment], target: int, state: Progress
) -> Need:
    """Labels and further tasks needed for a number of decided pairs.

    labels = (target − decided pairs) / (decided pairs per label so far)
    """
    labels: dict[str, int] = defaultdict(int)
    for judgment in counted:
        labels[judgment.task_id] += 1
    decided = {task: num_decided([preference]) for task, preference in preferences.items()}
    per_label = rate(_rates(decided, labels))
    missing = max(0, target - sum(decided.values()))
    if not per_label.value:
        return Need(0 if missing == 0 else None, rate=per_label)
    needed = math.ceil(missing / per_label.value - 1e-9)
    per_task = state.num_wanted / state.num_tasks if state.num_tasks else 1.0
    beyond = max(0, needed - state.num_left)
    return Need(needed, num_tasks=math.ceil(beyond / per_task - 1e-9), rate=per_label)


def num_decided(preferences: Iterable[Preference]) -> int:
    """Number of pairs that the consensus decides."""
    return sum(pair.weight > 0 for preference in preferences for pair in preference.pairs)


def moment(text: str) -> datetime:
    """The time in an ISO 8601 text; UTC if the text names no zone."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _rates(decided: Mapping[str, int], labels: Mapping[str, int]) -> Counts:
    return {task: (float(num), float(labels[task])) for task, num in decided.items() if labels.get(task)}


def _now() -> datetime:
    return datetime.now(UTC)
