"""A coefficient of agreement with its interval over tasks, because the votes inside a task are correlated."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from preflab.statistics.agreement import Statistic, coefficient_interval
from preflab.statistics.interval import Interval
from preflab.statistics.means import mean_interval

NO_VARIATION = "undefined: no variation"
NOTHING = "undefined: nothing to compare"


@dataclass(frozen=True)
class Estimate:
    """A coefficient with its interval over tasks. What is missing is None, and `note` says why."""

    value: float | None
    low: float | None
    high: float | None
    num_tasks: int
    """Tasks with something to compare."""
    note: str = ""


def estimate_coefficient(counts: np.ndarray, statistic: Statistic, outside: Statistic | None = None) -> Estimate:
    """statistic(Σ counts over tasks) with its interval (`statistics.agreement.coefficient_interval`).

    Args:
        counts: (tasks, F), the addends of each task; without tasks that have nothing to compare.
        statistic: function of the sums.
        outside: share of the answers that differ from the most frequent one, a function of the sums.
    """
    if not len(counts):
        return Estimate(None, None, None, 0, NOTHING)
    interval = coefficient_interval(counts, statistic, outside)
    if math.isnan(interval.value):
        return Estimate(None, None, None, len(counts), NO_VARIATION)
    return _estimate(interval)


def estimate_mean(counts: np.ndarray) -> Estimate:
    """Σ sums / Σ numbers of the tasks (tasks, 2) with its interval."""
    return _estimate(mean_interval(counts[:, 0], weights=counts[:, 1]))


def _estimate(interval: Interval) -> Estimate:
    low, high = (end if interval.defined else None for end in (interval.low, interval.high))
    return Estimate(interval.value, low, high, interval.num, interval.note)


def sum_by_task(rows: np.ndarray, tasks: Sequence[Hashable] | None) -> np.ndarray:
    """Rows (N, F) summed by task, tasks in order of first appearance; unchanged when `tasks` is None."""
    if tasks is None:
        return rows
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(task, len(places)) for task in tasks], dtype=int)
    sums = np.zeros((len(places), rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums
