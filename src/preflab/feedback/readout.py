"""The figures about each labeler that a lead reads before talking to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from preflab.feedback.agreement import Counts, Share, fail_counts, leave_one_out, share, tie_counts
from preflab.feedback.gold_tasks import gold_counts
from preflab.feedback.labeler_groups import find_groups
from preflab.feedback.pair_votes import Vote
from preflab.feedback.reading import USUAL, Reading
from preflab.feedback.reliability import PRIOR_MEAN, Reliability
from preflab.feedback.standing import standing
from preflab.records import Judgment


@dataclass(frozen=True)
class LabelerReadout:
    """The figures about one labeler."""

    labeler_id: str
    num_tasks: int
    num_votes: int
    """Strict votes on pairs."""
    reliability: float
    """Estimated probability of naming the true winner of a pair (one-coin EM, shrunk to the campaign's prior)."""
    weight: float
    """Weight in the consensus, 0 to 1."""
    with_others: Share
    """Share of the strict votes that agree with the majority of the others, where there is one."""
    gold: Share
    """Points earned on gold tasks / points possible."""
    ties: Share
    """Share of the votes that are ties."""
    fails: Share
    """Share of the completions that are marked F."""
    first_shown: Share
    """Share of the strict votes for the completion shown earlier; ½ without position bias."""
    median_seconds: float | None
    """Median active time per task, seconds; None where no time was measured."""
    standing: str
    """See `standing.standing`."""


def readouts(judgments: Sequence[Judgment], reading: Reading = USUAL, *, seed: int = 0) -> list[LabelerReadout]:
    """The read-out of every labeler, least reliable first.

    Args:
        judgments: those that count, one per labeler and task, including gold tasks.
        reading: how the judgments are read.
        seed: of the search for groups.
    """
    votes = reading.votes(judgments)
    reliabilities, weights, others = reading.reliabilities(judgments), reading.weights(judgments), leave_one_out(votes)
    standing_of = standings(judgments, reading, seed)
    cast = _votes_by_labeler(votes)
    table = [
        LabelerReadout(
            labeler_id=name,
            num_tasks=len(judged),
            num_votes=reliabilities[name].num_votes,
            reliability=reliabilities[name].accuracy,
            weight=weights[name],
            with_others=share(others.get(name, {})),
            gold=share(gold_counts(judged, reading.gold, reading.criterion)),
            ties=share(tie_counts(cast.get(name, []))),
            fails=share(fail_counts(judged)),
            first_shown=share(first_shown_counts(judged, reading)),
            median_seconds=median_seconds(judged),
            standing=standing_of[name],
        )
        for name, judged in _judgments_by_labeler(judgments).items()
    ]
    place = {name: place for place, name in enumerate(reading.least_reliable_first(judgments))}
    return sorted(table, key=lambda row: place[row.labeler_id])


def standings(judgments: Sequence[Judgment], reading: Reading = USUAL, seed: int = 0) -> dict[str, str]:
    """Labeler → standing (`standing.standing`); members of a group are not taken for bad labelers.

    Args:
        judgments: those that count, including gold tasks.
        reading: how the judgments are read.
        seed: of the search for groups.
    """
    estimates, unidentified = reading.estimates(judgments)
    in_group = {name for group in find_groups(reading.votes(judgments), seed) for name in group.members}
    standing_of = {}
    for name, judged in _judgments_by_labeler(judgments).items():
        estimate = estimates.get(name, Reliability(PRIOR_MEAN, 0))
        num_gold = sum(judgment.task_id in reading.gold for judgment in judged)
        standing_of[name] = standing(
            estimate.accuracy, len(judged), estimate.num_votes, num_gold=num_gold, in_group=name in in_group,
            unidentified=name in unidentified,
        )  # fmt: skip
    return standing_of


def first_shown_counts(judgments: Iterable[Judgment], reading: Reading = USUAL) -> Counts:
    """Task → (strict votes for the completion that was shown earlier, strict votes).

    Votes count as they were clicked: neither a question for the worse completion nor a confirmed reversal inverts them.
    """
    clicks = replace(reading, confirmed_reversed=frozenset())
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for judgment in judgments:
        place = {index: position for position, index in enumerate(judgment.shown_order)}
        for vote in clicks.votes([judgment]):
            if vote.outcome:
                clicked = vote.outcome * judgment.polarity
                counts[vote.task][0] += clicked == (1 if place[vote.first] < place[vote.second] else -1)
                counts[vote.task][1] += 1
    return {task: (hits, trials) for task, (hits, trials) in counts.items()}


def median_seconds(judgments: Iterable[Judgment]) -> float | None:
    """The median active time per task, seconds, over judgments with a measured time."""
    times = [judgment.active_ms / 1000 for judgment in judgments if judgment.active_ms > 0]
    return float(median(times)) if times else None


def _votes_by_labeler(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    by_labeler: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_labeler[vote.labeler].append(vote)
    return by_labeler


def _judgments_by_labeler(judgments: Iterable[Judgment]) -> dict[str, list[Judgment]]:
    by_labeler: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        by_labeler[judgment.labeler_id].append(judgment)
    return dict(sorted(by_labeler.items()))
