"""Labelers who agree among themselves but not with the others: people who differ, not bad labelers.

One split of the labelers into two sides is looked for, on half of the tasks, and judged on the other half, which had no
part in finding it; then the halves change places. A group is shown when both halves confirm it. What is asked of it:

- both sides agree among themselves more than across, with 95 % confidence, and
- the smaller side has three members or more, who agree among themselves on 60 % of their strict votes or more.

A random clicker agrees with nobody and a single reversed labeler has nobody to agree with, so neither makes a group.
Measured over 40 simulated campaigns each (12 labelers, 60 tasks per labeler, `benchmarks/consensus.py`): four of
another taste are shown in 36, three in 23; up to four random, two reversed, or three bad labelers in none.

What it cannot do: find three groups at once, or tell three labelers who all read the scale backwards from three people
of the opposite taste (across is then far below one half: talk to them).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from preflab.feedback.agreement import Share, share
from preflab.feedback.pairs import Vote

MIN_TASKS = 40
"""Tasks before a labeler takes part: 20 to find the group and 20 to judge it."""
MIN_MEMBERS = 3
MIN_WITHIN, MIN_OWN = 0.6, 0.55
NUM_STARTS = 8
LEVEL = 0.95


@dataclass(frozen=True)
class LabelerGroup:
    """The smaller side of a split that held on tasks which had no part in finding it."""

    members: tuple[str, ...]
    others: tuple[str, ...]
    within: Share
    """Strict agreement among the members, over all tasks."""
    within_others: Share
    across: Share


@dataclass(frozen=True)
class _Couples:
    """Strict votes of two labelers on the same pair, one row each."""

    task: np.ndarray
    first: np.ndarray
    second: np.ndarray
    agree: np.ndarray

    def of(self, tasks: np.ndarray) -> _Couples:
        """Those of some tasks, the tasks numbered anew."""
        rows = np.flatnonzero(np.isin(self.task, tasks))
        numbers = np.searchsorted(np.sort(tasks), self.task[rows])
        return _Couples(numbers, self.first[rows], self.second[rows], self.agree[rows])


def find_groups(votes: Iterable[Vote], seed: int = 0) -> list[LabelerGroup]:
    """The group that stands apart, or none: [] or [group].

    Args:
        votes: of one campaign.
        seed: of the halves, of the search and of the intervals.
    """
    votes = list(votes)
    names = _with_enough_tasks(votes)
    if len(names) < 2 * MIN_MEMBERS:
        return []
    couples = _couples(votes, names)
    order = np.random.default_rng(seed).permutation(np.unique(couples.task))
    if len(order) < MIN_TASKS:
        return []
    halves = [couples.of(order[start::2]) for start in (0, 1)]
    first, second = (_split(half, len(names), seed) for half in halves)
    if not (_holds(first, halves[1], seed) and _holds(second, halves[0], seed)):
        return []
    if (first * second).sum() < 0:
        second = -second
    members, others = sorted((np.flatnonzero((first == side) & (second == side)) for side in (1, -1)), key=len)
    return [_group(names, members, others, couples, seed)] if len(members) >= MIN_MEMBERS else []


def _with_enough_tasks(votes: Sequence[Vote]) -> list[str]:
    tasks: dict[str, set[str]] = defaultdict(set)
    for vote in votes:
        tasks[vote.labeler].add(vote.task)
    return sorted(name for name, task_ids in tasks.items() if len(task_ids) >= MIN_TASKS)


def _couples(votes: Sequence[Vote], names: Sequence[str]) -> _Couples:
    place = {name: i for i, name in enumerate(names)}
    tasks: dict[str, int] = {}
    pairs: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    for vote in votes:
        if vote.outcome and vote.labeler in place:
            task = tasks.setdefault(vote.task, len(tasks))
            pairs[task, vote.first, vote.second].append((place[vote.labeler], vote.outcome))
    rows = [
        (task, a, b, outcome == other)
        for (task, _, _), cast in pairs.items()
        for (a, outcome), (b, other) in combinations(cast, 2)
    ]
    table = np.array(rows, dtype=int).reshape(-1, 4)
    return _Couples(table[:, 0], table[:, 1], table[:, 2], table[:, 3])


def _split(couples: _Couples, num: int, seed: int) -> np.ndarray:
    """The side of each labeler, (labelers,): 1, −1, or 0 for those who agree with neither.

    Sides maximise Σ_{a,b} side_a · side_b · (agreed − mean agreement · both), moving one labeler at a time from random
    starts. Who then agrees with the own side on less than 55 % of the strict votes is on no side.
    """
    agreed, both = np.zeros((num, num)), np.zeros((num, num))
    for a, b in ((couples.first, couples.second), (couples.second, couples.first)):
        np.add.at(agreed, (a, b), couples.agree)
        np.add.at(both, (a, b), 1)
    excess = agreed - both * (agreed.sum() / max(both.sum(), 1))
    rng = np.random.default_rng(seed)
    ends = [_climb(excess, rng.choice([-1.0, 1.0], size=len(excess))) for _ in range(NUM_STARTS)]
    best = max(ends, key=lambda sides: float(sides @ excess @ sides))
    same = best[:, None] == best
    within = (agreed * same).sum(axis=1) / np.maximum((both * same).sum(axis=1), 1)
    return np.where(within >= MIN_OWN, best, 0.0)


def _climb(excess: np.ndarray, sides: np.ndarray) -> np.ndarray:
    while True:
        gains = -sides * (excess @ sides)
        best = int(gains.argmax())
        if gains[best] <= 1e-9:
            return sides
        sides[best] = -sides[best]


def _holds(sides: np.ndarray, couples: _Couples, seed: int) -> bool:
    """Whether a split found elsewhere holds on these tasks."""
    sizes = [int((sides == side).sum()) for side in (1, -1)]
    if min(sizes) < MIN_MEMBERS:
        return False
    parts = _parts(couples, sides)
    drawn = np.random.default_rng(seed).multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=1000)
    sums = np.tensordot(np.vstack([np.ones(len(parts)), drawn]), parts, axes=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.nan_to_num(sums[..., 0] / sums[..., 1])
    gaps = shares[:, :2].min(axis=1) - shares[:, 2]
    return bool(shares[0, int(np.argmin(sizes))] >= MIN_WITHIN and np.quantile(gaps[1:], (1 - LEVEL) / 2) > 0)


def _parts(couples: _Couples, sides: np.ndarray) -> np.ndarray:
    """(tasks, 3, 2): agreed and both, within side 1, within side −1, across."""
    a, b = sides[couples.first], sides[couples.second]
    num = int(couples.task.max(initial=-1)) + 1
    columns = [
        np.bincount(couples.task, mask * weight, minlength=num)
        for mask in ((a > 0) & (b > 0), (a < 0) & (b < 0), a * b < 0)
        for weight in (couples.agree, np.ones_like(couples.agree))
    ]
    return np.column_stack(columns).reshape(num, 3, 2)


def _group(names: Sequence[str], members: np.ndarray, others: np.ndarray, couples: _Couples, seed: int) -> LabelerGroup:
    sides = np.zeros(len(names))
    sides[members], sides[others] = 1, -1
    parts = _parts(couples, sides)
    within, within_others, across = (
        share({f"{task:09d}": (float(part[row, 0]), float(part[row, 1])) for task, part in enumerate(parts)}, seed)
        for row in range(3)
    )
    return LabelerGroup(
        tuple(names[i] for i in members), tuple(names[i] for i in others), within, within_others, across
    )
