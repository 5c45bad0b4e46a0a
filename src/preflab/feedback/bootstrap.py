"""Bootstrap intervals that resample whole tasks, because the votes inside a task are correlated.

Every coefficient is a function of sums over tasks (coincidences, confusions, hits and trials), so a resample is a
weighted sum of counts that are made once per task.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 1000
LEVEL = 0.95
NO_VARIATION = "undefined: no variation"
NOTHING = "undefined: nothing to compare"


@dataclass(frozen=True)
class Estimate:
    """A coefficient with its interval over tasks; where it is undefined, all three are None and `note` says why."""

    value: float | None
    low: float | None
    high: float | None
    num_tasks: int
    """Tasks with something to compare."""
    note: str = ""


Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums (R, F) → values (R,), NaN where undefined."""


def estimate(counts: np.ndarray, statistic: Statistic, seed: int = 0) -> Estimate:
    """statistic(Σ counts over tasks), with the 95 % percentile interval of 1000 resamples of the tasks.

    Resamples where the statistic is undefined are left out. With a single task both ends equal the value.

    Args:
        counts: (tasks, F), the addends of each task; without tasks that have nothing to compare.
        statistic: function of the sums.
        seed: of the resamples.
    """
    if not len(counts):
        return Estimate(None, None, None, 0, NOTHING)
    value = float(statistic(counts.sum(axis=0, keepdims=True))[0])
    if np.isnan(value):
        return Estimate(None, None, None, len(counts), NO_VARIATION)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=NUM_RESAMPLES)
    drawn = statistic(times @ counts)
    low, high = np.quantile(drawn[~np.isnan(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), len(counts))


def sum_by_task(rows: np.ndarray, tasks: Sequence[Hashable] | None) -> np.ndarray:
    """Rows (N, F) summed by task, tasks in order of first appearance; unchanged when `tasks` is None."""
    if tasks is None:
        return rows
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(task, len(places)) for task in tasks], dtype=int)
    sums = np.zeros((len(places), rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums


def ratio(sums: np.ndarray) -> np.ndarray:
    """Hits (R, 0) divided by trials (R, 1): the statistic of a share or of a mean."""
    with np.errstate(invalid="ignore", divide="ignore"):
        divided: np.ndarray = np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)
    return divided
