"""The judgments of one task to one preference: F decided, pairs weighed, an order found, the rest left open.

A pair's margin is the weight of those for it minus the weight of those against it. The order is Kemeny's. Pairs on
which the best orders differ, or whose margin contradicts them, stay open: they give no training pair and wait for an
adjudicator, and are never decided by a coin or by position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from preflab.feedback.ratings import level_ratings
from preflab.feedback.reading import USUAL, Reading
from preflab.feedback.scores import mean_scores, thumbs_share, upright
from preflab.feedback.settling import (
    SettledPair,
    consensus_ranks,
    decide,
    order_of,
    settle,
    vote_sums,
    weighted,
)
from preflab.records import Judgment, Preference

SOURCES = {"person": "human", "ai": "ai", "simulated": "simulated"}


@dataclass(frozen=True)
class Consensus:
    """What the labelers of one task agree on, and what they do not."""

    task_id: str
    preference: Preference
    pairs: tuple[SettledPair, ...]
    """Every pair somebody voted on, with its state."""
    method: str
    """How the order was found: `kemeny`, or `copeland` for more than nine completions."""
    num_orders: int
    """Best orders; more than one means that the votes do not choose between them."""
    num_open: int
    """Pairs that were open before an adjudicator spoke."""

    @property
    def unresolved(self) -> tuple[tuple[int, int], ...]:
        """The pairs an adjudicator is still wanted for, as indices into the preference's `completion_ids`."""
        return tuple((pair.outcome.first, pair.outcome.second) for pair in self.pairs if pair.state == "open")


def counted(judgments: Iterable[Judgment]) -> list[Judgment]:
    """The judgments that count, sorted: each labeler's latest revision per task; no surplus, no decision."""
    latest: dict[tuple[str, str], Judgment] = {}
    for judgment in judgments:
        key = (judgment.task_id, judgment.labeler_id)
        if not judgment.decides and (key not in latest or judgment.revision > latest[key].revision):
            latest[key] = judgment
    return [latest[key] for key in sorted(latest) if not latest[key].surplus]


def decisions(judgments: Iterable[Judgment]) -> dict[str, Judgment]:
    """Task → the adjudicator's latest decision on it."""
    made = sorted(
        (judgment for judgment in judgments if judgment.decides),
        key=lambda judgment: (judgment.created_at, judgment.revision, judgment.id),
    )
    return {judgment.task_id: judgment for judgment in made}


def task_consensus(
    judgments: Sequence[Judgment],
    weights: Mapping[str, float],
    reading: Reading = USUAL,
    *,
    texts: Mapping[str, str] | None = None,
    decision: Judgment | None = None,
    rated: Sequence[Judgment] | None = None,
) -> Consensus:
    """Ranks, pairs and what stays open, from the counted judgments of one task.

    Args:
        judgments: of one task, one per labeler, about the same completions.
        weights: labeler → weight.
        reading: how they are read.
        texts: completion → text.
        decision: an adjudicator's judgment of the same completions; it settles what is open, and nothing else.
        rated: the same judgments with scores of which more is better, as they are to be averaged (levelled); None: as
            they were given.
    """
    if rated is None:
        rated = upright(judgments, reading.confirmed_reversed)
    ids = judgments[0].completion_ids
    names = reading.names(ids, texts)
    dropped = reading.failed(judgments)
    votes = [vote for vote in reading.votes(judgments) if names[vote.first] != names[vote.second]]
    outcomes = vote_sums(votes, weights, dropped)
    order = order_of(outcomes, dropped, reading.order)
    settled = settle(outcomes, order)
    pairs = weighted(decide(settled, decision, reading.criterion))
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
    """One consensus per task, by task id; labelers are weighed over all the judgments together.

    Adjudicators' decisions may be among the judgments: they settle the open pairs of their task. Judgments of gold
    tasks tell how reliable their labelers are, and have no consensus.

    Args:
        judgments: of any number of tasks, with all their revisions or the latest alone.
        reading: how they are read.
        texts: completion → text.
    """
    judgments = list(judgments)
    labels, decided = counted(judgments), decisions(judgments)
    weights, asked = reading.weights(labels), reading.asked(labels)
    upright_labels = upright(asked, reading.confirmed_reversed)
    rated = by_task(level_ratings(upright_labels) if reading.level_scores else upright_labels)
    return [
        task_consensus(found, weights, reading, texts=texts, decision=decided.get(task), rated=rated[task])
        for task, found in by_task(asked).items()
    ]


def preferences_of(
    judgments: Iterable[Judgment], reading: Reading = USUAL, *, texts: Mapping[str, str] | None = None
) -> list[Preference]:
    """The preferences of `consensus_of`, one per task, by task id."""
    return [consensus.preference for consensus in consensus_of(judgments, reading, texts=texts)]


def by_task(judgments: Iterable[Judgment]) -> dict[str, list[Judgment]]:
    """Task → its judgments, tasks sorted."""
    tasks: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        tasks[judgment.task_id].append(judgment)
    return {task: tasks[task] for task in sorted(tasks)}
