"""Agreement between labelers, rates of ties and F marks, and each labeler's agreement with the others; with intervals.

Intervals are over tasks, because the votes inside a task are correlated. Published strict agreement
between labelers is 63 to 77 % (Ouyang et al. 2022, section 3.4: 72.6 %), so 70 % is normal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from preflab.feedback.pair_votes import Vote, failed
from preflab.feedback.reading import USUAL, Reading
from preflab.records import Judgment
from preflab.statistics.interval import Interval
from preflab.statistics.means import mean_interval
from preflab.statistics.shares import interval_of_counts


@dataclass(frozen=True)
class Share:
    """A share, or a rate, with its interval over tasks. What is missing is None, and `note` says why."""

    value: float | None
    low: float | None
    high: float | None
    num: float
    """The denominator: number of votes, of pairs of votes, or of marks."""
    num_tasks: int
    note: str = ""


@dataclass(frozen=True)
class LabelerAgreement:
    """The agreement of one labeler with the others."""

    num_tasks: int
    with_others: Share
    """Share of the labeler's strict votes that agree with the majority of the others, where there is one."""
    ties: Share
    """Share of the votes that are ties."""
    fails: Share
    """Share of the completions that are marked F."""


@dataclass(frozen=True)
class Agreement:
    """Agreement over a whole campaign and per labeler."""

    num_judgments: int
    num_tasks: int
    strict: Share
    """How often the strict votes of two labelers on one pair agree, over all couples of labelers."""
    ties: Share
    fails: Share
    labelers: Mapping[str, LabelerAgreement]


Counts = dict[str, tuple[float, float]]
"""Task → (hits, trials)."""


def share(counts: Counts) -> Share:
    """Σ hits / Σ trials over tasks, hits being part of the trials, with Wilson's interval over tasks (95 %).

    Tasks without a trial are left out.
    """
    hits, trials = _columns(counts)
    return _share(interval_of_counts(hits, trials), sum(trials))


def rate(counts: Counts) -> Share:
    """Σ hits / Σ trials over tasks where a trial can have several hits, with its interval over tasks (95 %)."""
    hits, trials = _columns(counts)
    return _share(mean_interval(hits, weights=trials), sum(trials))


def _columns(counts: Counts) -> tuple[list[float], list[float]]:
    rows = [counts[task] for task in sorted(counts) if counts[task][1] > 0]
    return [hits for hits, _ in rows], [trials for _, trials in rows]


def _share(interval: Interval, num: float) -> Share:
    if not interval.num:
        return Share(None, None, None, 0, 0)
    low, high = (end if interval.defined else None for end in (interval.low, interval.high))
    return Share(interval.value, low, high, float(num), interval.num, interval.note)


def agreement(judgments: Sequence[Judgment], reading: Reading = USUAL) -> Agreement:
    """Agreement, tie rate and F rate over all judgments, and the same for each labeler.

    Args:
        judgments: those that count (see `consensus.counted`), one per labeler and task, without gold tasks.
        reading: how the judgments are read; the votes of labelers with a confirmed reversal are inverted.
    """
    votes = reading.votes(judgments)
    names = sorted({judgment.labeler_id for judgment in judgments})
    others = leave_one_out(votes)
    return Agreement(
        num_judgments=len(judgments),
        num_tasks=len({judgment.task_id for judgment in judgments}),
        strict=share(strict_agreements(votes)),
        ties=share(tie_counts(votes)),
        fails=share(fail_counts(judgments)),
        labelers={name: _measure_labeler(name, judgments, votes, others.get(name, {})) for name in names},
    )


def strict_agreements(votes: Iterable[Vote]) -> Counts:
    """Task → (couples of labelers that agree, couples) over pairs on which both have a strict vote."""
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for (task, _, _), outcomes in _group_by_pair(votes).items():
        strict = [outcome for outcome in outcomes.values() if outcome != 0]
        counts[task][0] += sum(a == b for a, b in combinations(strict, 2))
        counts[task][1] += len(strict) * (len(strict) - 1) / 2
    return _as_counts(counts)


def leave_one_out(votes: Iterable[Vote]) -> dict[str, Counts]:
    """Labeler → task → (strict votes that agree with the majority of the others, strict votes with such a majority)."""
    counts: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for (task, _, _), outcomes in _group_by_pair(votes).items():
        total = sum(outcomes.values())
        for name, outcome in outcomes.items():
            if outcome != 0 and total != outcome:
                counts[name][task][0] += outcome * (total - outcome) > 0
                counts[name][task][1] += 1
    return {name: _as_counts(tasks) for name, tasks in counts.items()}


def _measure_labeler(
    name: str, judgments: Sequence[Judgment], votes: Sequence[Vote], others: Counts
) -> LabelerAgreement:
    judged = [judgment for judgment in judgments if judgment.labeler_id == name]
    return LabelerAgreement(
        num_tasks=len({judgment.task_id for judgment in judged}),
        with_others=share(others),
        ties=share(tie_counts([vote for vote in votes if vote.labeler == name])),
        fails=share(fail_counts(judged)),
    )


def _group_by_pair(votes: Iterable[Vote]) -> dict[tuple[str, int, int], dict[str, int]]:
    """(task, first, second) → labeler → outcome."""
    table: dict[tuple[str, int, int], dict[str, int]] = defaultdict(dict)
    for vote in votes:
        table[vote.task, vote.first, vote.second][vote.labeler] = vote.outcome
    return table


def tie_counts(votes: Iterable[Vote]) -> Counts:
    """Task → (ties, votes)."""
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for vote in votes:
        counts[vote.task][0] += vote.outcome == 0
        counts[vote.task][1] += 1
    return _as_counts(counts)


def fail_counts(judgments: Iterable[Judgment]) -> Counts:
    """Task → (completions marked F, completions judged), summed over its labelers."""
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for judgment in judgments:
        marks = failed(judgment)
        counts[judgment.task_id][0] += sum(marks)
        counts[judgment.task_id][1] += len(marks)
    return _as_counts(counts)


def _as_counts(counts: Mapping[str, Sequence[float]]) -> Counts:
    return {task: (hits, trials) for task, (hits, trials) in counts.items()}
