"""The judgments of one task to one preference: F decided, pairs weighed, an order found, the rest left open.

A pair's margin is the weight of those for it minus the weight of those against it. The order is Kemeny's. Pairs on
which the best orders differ, or whose margin contradicts them, stay open: they give no training pair and wait for an
adjudicator, and are never decided by a coin or by position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preflab.feedback.gold import known_outcomes
from preflab.feedback.order import OrderRule, best_order
from preflab.feedback.pairs import all_votes, failed
from preflab.feedback.ratings import level_ratings
from preflab.feedback.reliability import PRIOR_MEAN, Known, Reliability, one_coin_em, relative_weights
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
from preflab.records import Answer, Judgment, Preference

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


def labeler_weights(
    judgments: Iterable[Judgment],
    method: str = "one_coin_em",
    *,
    confirmed_reversed: Collection[str] = (),
    criterion: str | None = None,
    known: Known | None = None,
) -> dict[str, float]:
    """Labeler → weight from 0 to 1: by reliability (`one_coin_em`), or 1 for each (`majority`)."""
    judgments = list(judgments)
    if method == "majority":
        return {judgment.labeler_id: 1.0 for judgment in judgments}
    return relative_weights(
        reliabilities(judgments, confirmed_reversed=confirmed_reversed, criterion=criterion, known=known)
    )


def reliabilities(
    judgments: Iterable[Judgment],
    *,
    confirmed_reversed: Collection[str] = (),
    criterion: str | None = None,
    known: Known | None = None,
) -> dict[str, Reliability]:
    """Labeler → reliability over all these judgments; one without a vote keeps the prior.

    Args:
        judgments: those that count.
        confirmed_reversed: labelers whose votes are turned round first, because a lead has confirmed it.
        criterion: which Likert criterion.
        known: outcomes of gold pairs.
    """
    judgments = list(judgments)
    found = one_coin_em(all_votes(judgments, confirmed_reversed, criterion), known=known)
    unseen = Reliability(PRIOR_MEAN, 0)
    return {judgment.labeler_id: found.get(judgment.labeler_id, unseen) for judgment in judgments}


def failed_completions(judgments: Sequence[Judgment], fail_share: float) -> list[bool]:
    """Per completion of one task: at least `fail_share` of its labelers marked it F."""
    marks = np.array([failed(judgment) for judgment in judgments], dtype=float)
    return [bool(share >= fail_share - 1e-9) for share in marks.mean(axis=0)]


def task_consensus(
    judgments: Sequence[Judgment],
    weights: Mapping[str, float],
    fail_share: float = 0.5,
    *,
    decision: Judgment | None = None,
    confirmed_reversed: Collection[str] = (),
    criterion: str | None = None,
    texts: Mapping[str, str] | None = None,
    rated: Sequence[Judgment] | None = None,
    order: OrderRule = best_order,
) -> Consensus:
    """The consensus on one task from its judgments (at least one, all of the same task).

    Args:
        judgments: those that count.
        weights: labeler → weight.
        fail_share: a completion is dropped when at least this share of its labelers marked it F. A single labeler's F
            takes it out of that labeler's pairs only.
        decision: an adjudicator's judgment; it decides the open pairs and nothing else.
        confirmed_reversed: labelers whose votes are turned round.
        criterion: which Likert criterion.
        texts: completion id → text; where given, two completions of equal text make no pair.
        rated: the same judgments with their scores as they are to be averaged (levelled); None: as they were given.
        order: how margins become an order.
    """
    if rated is None:
        rated = upright(judgments, confirmed_reversed)
    ids = judgments[0].completion_ids
    shown = [texts[i] if texts else i for i in ids]
    dropped = failed_completions(judgments, fail_share)
    votes = all_votes(judgments, confirmed_reversed, criterion)
    outcomes = vote_sums((vote for vote in votes if shown[vote.first] != shown[vote.second]), weights, dropped)
    found = order_of(outcomes, dropped, order)
    settled = settle(outcomes, found)
    pairs = weighted(decide(settled, decision, criterion))
    parents = [*judgments, decision] if decision and any(p.state in ("decided", "closed") for p in pairs) else judgments
    preference = Preference.make(
        judgments[0].prompt_id,
        ids,
        consensus_ranks(pairs, found, dropped),
        pairs=tuple(pair.outcome for pair in pairs),
        judgment_ids=tuple(sorted(judgment.id for judgment in parents)),
        scores=mean_scores(rated, weights),
        thumbs=thumbs_share(rated, weights),
        source="+".join(sorted({SOURCES[judgment.labeler_kind] for judgment in judgments})),
    )
    num_open = sum(pair.state == "open" for pair in settled)
    return Consensus(judgments[0].task_id, preference, tuple(pairs), found.method, found.num_orders, num_open)


def consensus_of(
    judgments: Iterable[Judgment],
    method: str = "one_coin_em",
    fail_share: float = 0.5,
    *,
    gold: Mapping[str, Answer] | None = None,
    confirmed_reversed: Collection[str] = (),
    criterion: str | None = None,
    texts: Mapping[str, str] | None = None,
    level_scores: bool = True,
    order: OrderRule = best_order,
) -> list[Consensus]:
    """One consensus per task, by task id; labelers are weighed over all the judgments together.

    Adjudicators' decisions may be among the judgments: they settle the open pairs of their task. Judgments of the tasks
    in `gold` (task → the answer known to be right) tell how reliable their labelers are, and nothing else.
    """
    judgments, gold = list(judgments), gold or {}
    labels = counted(judgments)
    weights = labeler_weights(
        labels, method, confirmed_reversed=confirmed_reversed, criterion=criterion,
        known=known_outcomes(labels, gold, criterion),
    )  # fmt: skip
    return weighed_consensus(
        [judgment for judgment in labels if judgment.task_id not in gold], weights, fail_share,
        decided=decisions(judgments), confirmed_reversed=confirmed_reversed, criterion=criterion, texts=texts,
        level_scores=level_scores, order=order,
    )  # fmt: skip


def weighed_consensus(
    labels: Iterable[Judgment],
    weights: Mapping[str, float],
    fail_share: float = 0.5,
    *,
    decided: Mapping[str, Judgment] | None = None,
    confirmed_reversed: Collection[str] = (),
    criterion: str | None = None,
    texts: Mapping[str, str] | None = None,
    level_scores: bool = True,
    order: OrderRule = best_order,
) -> list[Consensus]:
    """One consensus per task, by task id, of judgments that count and labelers whose weights are known.

    Args:
        labels: those that count.
        weights: labeler → weight.
        fail_share: as in `task_consensus`, like all that is not named here.
        decided: task → an adjudicator's decision.
        level_scores: whether each labeler's own offset and spread are taken out of the scores before they are averaged
            (R9); this looks at all the labels together.
    """
    labels, decided = list(labels), decided or {}
    upright_labels = upright(labels, confirmed_reversed)
    rated = by_task(level_ratings(upright_labels) if level_scores else upright_labels)
    return [
        task_consensus(
            found, weights, fail_share, decision=decided.get(task), confirmed_reversed=confirmed_reversed,
            criterion=criterion, texts=texts, rated=rated[task], order=order,
        )
        for task, found in by_task(labels).items()
    ]  # fmt: skip


def preferences_of(
    judgments: Iterable[Judgment],
    method: str = "one_coin_em",
    fail_share: float = 0.5,
    *,
    confirmed_reversed: Collection[str] = (),
    criterion: str | None = None,
    texts: Mapping[str, str] | None = None,
) -> list[Preference]:
    """The preferences of `consensus_of`, one per task, by task id."""
    found = consensus_of(
        judgments, method, fail_share, confirmed_reversed=confirmed_reversed, criterion=criterion, texts=texts
    )
    return [consensus.preference for consensus in found]


def by_task(judgments: Iterable[Judgment]) -> dict[str, list[Judgment]]:
    """Task → its judgments, tasks sorted."""
    tasks: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        tasks[judgment.task_id].append(judgment)
    return {task: tasks[task] for task in sorted(tasks)}
