"""Combines the judgments of one task into one preference: F marks, weighted pairs, ranks, and pairs left open.

A pair's margin is the summed weight of its votes for minus that of its votes against. Completions are ordered by
Kemeny's rule. Pairs on which the best orders differ, or whose margin contradicts them, stay open: they give no training
pair and wait for an adjudicator, and are never decided at random or by position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from preflab.feedback.ratings import level_ratings
from preflab.feedback.reading import USUAL, Reading
from preflab.feedback.scores import mean_scores, orient_scores, thumbs_share
from preflab.feedback.settling import (
    SettledPair,
    consensus_ranks,
    decide,
    find_order,
    settle,
    share_weight,
    vote_sums,
)
from preflab.records import Judgment, Preference

SOURCES = {"person": "human", "ai": "ai", "simulated": "simulated"}


@dataclass(frozen=True)
class Consensus:
    """The preference of one task, and the state of each of its pairs."""

    task_id: str
    preference: Preference
    pairs: tuple[SettledPair, ...]
    """Every pair with at least one vote."""
    method: str
    """The rule that gave the order: `kemeny`, or `copeland` (chosen, or for more than nine completions)."""
    num_orders: int
    """Number of equally good best orders."""
    num_open: int
    """Pairs that were open before any adjudicator's decision."""

    @property
    def unresolved(self) -> tuple[tuple[int, int], ...]:
        """The pairs that still need an adjudicator, as indices into the preference's `completion_ids`."""
        return tuple((pair.outcome.first, pair.outcome.second) for pair in self.pairs if pair.state == "open")


def counted(judgments: Iterable[Judgment]) -> list[Judgment]:
    """The judgments that count: each labeler's latest revision per task, without surplus and decisions; sorted."""
    latest: dict[tuple[str, str], Judgment] = {}
    for judgment in judgments:
        key = (judgment.task_id, judgment.labeler_id)
        if not judgment.decides and (key not in latest or judgment.revision > latest[key].revision):
            latest[key] = judgment
    return [latest[key] for key in sorted(latest) if not latest[key].surplus]


def decisions(judgments: Iterable[Judgment]) -> dict[str, Judgment]:
    """Task → the adjudicator's latest decision on it."""
    oldest_first = sorted(
        (judgment for judgment in judgments if judgment.decides),
        key=lambda judgment: (judgment.created_at, judgment.revision, judgment.id),
    )
    return {judgment.task_id: judgment for judgment in oldest_first}


def task_consensus(
    judgments: Sequence[Judgment],
    weights: Mapping[str, float],
    reading: Reading = USUAL,
    *,
    texts: Mapping[str, str] | None = None,
    decision: Judgment | None = None,
    rated: Sequence[Judgment] | None = None,
) -> Consensus:
    """The consensus of one task: ranks, pairs and open pairs from its counted judgments.

    Args:
        judgments: of one task, one per labeler, about the same completions.
        weights: labeler → weight.
        reading: how the judgments are read.
        texts: completion → text.
        decision: an adjudicator's judgment of the same completions; it decides the open pairs alone.
        rated: the same judgments, with scores oriented so that higher is better and levelled if wanted: their scores
            are averaged. None: `judgments`, oriented but not levelled.
    """
    if rated is None:
        rated = orient_scores(judgments, reading.confirmed_reversed)
    ids = judgments[0].completion_ids
    names = reading.names(ids, texts)
    dropped = reading.failed(judgments)
    votes = [vote for vote in reading.votes(judgments) if names[vote.first] != names[vote.second]]
    outcomes = vote_sums(votes, weights, dropped)
    order = find_order(outcomes, dropped, reading.order)
    settled = settle(outcomes, order)
    pairs = share_weight(decide(settled, decision, reading.criterion))
    parents = [*judgments, decision] if decision and any(p.state in ("decided", "closed") for p in pairs) else judgments
    preference = Preference.make(
        judgments[0].prompt_id,
        ids,
        consensus_ranks(pairs, order, dropped),
        pairs=tuple(pair.outcome for pair in pairs),
        judgment_ids=tuple(sorted(judgment.id for judgment in parents)),
        scores=mean_scores(rated, weights),
        thumbs=thumbs_share(rated, weights),
        source="+".join(sorted({SOURCES[judgment.labeler_kind] for judgment in judgments})),
    )
    num_open = sum(pair.state == "open" for pair in settled)
    return Consensus(judgments[0].task_id, preference, tuple(pairs), order.method, order.num_orders, num_open)


def consensus_of(
    judgments: Iterable[Judgment], reading: Reading = USUAL, *, texts: Mapping[str, str] | None = None
) -> list[Consensus]:
    """One consensus per task, sorted by task id; the weights of labelers come from all judgments together.

    The judgments may include adjudicators' decisions, which settle the open pairs of their task, and gold tasks, which
    inform the weights but get no consensus.

    Args:
        judgments: of any number of tasks, with all their revisions or only the latest.
        reading: how the judgments are read.
        texts: completion → text.
    """
    judgments = list(judgments)
    labels, decision_of = counted(judgments), decisions(judgments)
    weights, asked = reading.weights(labels), reading.asked(labels)
    oriented_labels = orient_scores(asked, reading.confirmed_reversed)
    rated = by_task(level_ratings(oriented_labels) if reading.level_scores else oriented_labels)
    return [
        task_consensus(of_task, weights, reading, texts=texts, decision=decision_of.get(task), rated=rated[task])
        for task, of_task in by_task(asked).items()
    ]


def preferences_of(
    judgments: Iterable[Judgment], reading: Reading = USUAL, *, texts: Mapping[str, str] | None = None
) -> list[Preference]:
    """The preferences of `consensus_of`, one per task, sorted by task id."""
    return [consensus.preference for consensus in consensus_of(judgments, reading, texts=texts)]


def by_task(judgments: Iterable[Judgment]) -> dict[str, list[Judgment]]:
    """Task → its judgments, sorted by task id."""
    tasks: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        tasks[judgment.task_id].append(judgment)
    return {task: tasks[task] for task in sorted(tasks)}
