"""The judgments of one task to one preference: F decided, pairs weighed, ranks agreed.

A pair's margin is the weight of those for it minus the weight of those against it. A pair without margin is left
unresolved: it is stored and gives no training pair, and is never decided by a coin or by position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from preflab.feedback.pairs import Vote, failed, pair_votes
from preflab.feedback.reliability import PRIOR_MEAN, Reliability, one_coin_em, relative_weights
from preflab.records import Judgment, LikertAnswer, PairOutcome, Preference, ThumbsAnswer

DECIMALS = 9
"""Votes are rounded to this many decimals, so that equal weights on both sides give a margin of exactly 0."""
SOURCES = {"person": "human", "ai": "ai", "simulated": "simulated"}

Order = Callable[[np.ndarray], list[int]]
"""Margins (K, K), antisymmetric → ranks from 1, equal = tie."""


def counted(judgments: Iterable[Judgment]) -> list[Judgment]:
    """The judgments that count, sorted: the latest revision of each labeler on each task, surplus left out."""
    latest: dict[tuple[str, str], Judgment] = {}
    for judgment in judgments:
        key = (judgment.task_id, judgment.labeler_id)
        if key not in latest or judgment.revision > latest[key].revision:
            latest[key] = judgment
    return [latest[key] for key in sorted(latest) if not latest[key].surplus]


def labeler_weights(judgments: Iterable[Judgment], method: str = "one_coin_em") -> dict[str, float]:
    """Labeler → weight from 0 to 1: by reliability (`one_coin_em`), or 1 for each (`majority`)."""
    judgments = list(judgments)
    if method == "majority":
        return {judgment.labeler_id: 1.0 for judgment in judgments}
    return relative_weights(reliabilities(judgments))


def reliabilities(judgments: Iterable[Judgment]) -> dict[str, Reliability]:
    """Labeler → reliability over all these judgments; one without a vote keeps the prior."""
    judgments = list(judgments)
    found = one_coin_em(vote for judgment in judgments for vote in pair_votes(judgment))
    unseen = Reliability(PRIOR_MEAN, 0)
    return {judgment.labeler_id: found.get(judgment.labeler_id, unseen) for judgment in judgments}


def copeland_order(margins: np.ndarray) -> list[int]:
    """Ranks by pairs won minus pairs lost, then by the sum of margins; equal in both = tie.

    Args:
        margins: (K, K), antisymmetric; [i, j] > 0 puts i above j.

    Example:
        >>> copeland_order(np.array([[0, -1, 1], [1, 0, 2], [-1, -2, 0]]))
        [2, 1, 3]
    """
    totals = np.round(margins.sum(axis=1), DECIMALS)
    keys = list(zip(np.sign(margins).sum(axis=1).tolist(), totals.tolist(), strict=True))
    return [1 + sum(other > key for other in keys) for key in keys]


def failed_completions(judgments: Sequence[Judgment], fail_share: float) -> list[bool]:
    """Per completion of one task: at least `fail_share` of its labelers marked it F."""
    marks = np.array([failed(judgment) for judgment in judgments], dtype=float)
    return [bool(share >= fail_share - 1e-9) for share in marks.mean(axis=0)]


def weighed_pairs(votes: Iterable[Vote], weights: Mapping[str, float], dropped: Sequence[bool]) -> list[PairOutcome]:
    """The outcome of every pair somebody voted on; the resolved ones share a weight of 1 equally, others weigh 0."""
    sums: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for vote in votes:
        if not (dropped[vote.first] or dropped[vote.second]):
            column = {1: 0, -1: 1, 0: 2}[vote.outcome]
            sums[vote.first, vote.second][column] += weights[vote.labeler]
    rounded = {pair: [round(value, DECIMALS) for value in sums[pair]] for pair in sorted(sums)}
    resolved = {pair for pair, (num_for, num_against, _) in rounded.items() if num_for != num_against}
    return [
        PairOutcome(
            first, second, num_for, num_against, num_tie, 1 / len(resolved) if (first, second) in resolved else 0.0
        )
        for (first, second), (num_for, num_against, num_tie) in rounded.items()
    ]


def consensus_ranks(outcomes: Iterable[PairOutcome], dropped: Sequence[bool], order: Order) -> tuple[int | None, ...]:
    """Ranks of the completions that are left, by their margins; None for those dropped."""
    left = [i for i, gone in enumerate(dropped) if not gone]
    place = {completion: row for row, completion in enumerate(left)}
    margins = np.zeros((len(left), len(left)))
    for outcome in outcomes:
        i, j = place[outcome.first], place[outcome.second]
        margins[i, j], margins[j, i] = outcome.margin, -outcome.margin
    ranks = order(margins) if left else []
    return tuple(None if gone else ranks[place[i]] for i, gone in enumerate(dropped))


def task_preference(
    judgments: Sequence[Judgment],
    weights: Mapping[str, float],
    fail_share: float,
    *,
    texts: Mapping[str, str] | None = None,
    order: Order = copeland_order,
) -> Preference:
    """The preference of one task from its judgments (at least one, all of the same task).

    Args:
        judgments: those that count.
        weights: labeler → weight.
        fail_share: a completion is dropped when at least this share of its labelers marked it F. A single labeler's F
            takes it out of that labeler's pairs only.
        texts: completion id → text; where given, two completions of equal text make no pair.
        order: how margins become ranks; exact Kemeny can take the place of Copeland here.
    """
    dropped = failed_completions(judgments, fail_share)
    shown = [texts[i] if texts else i for i in judgments[0].completion_ids]
    votes = [vote for judgment in judgments for vote in pair_votes(judgment) if shown[vote.first] != shown[vote.second]]
    outcomes = weighed_pairs(votes, weights, dropped)
    return Preference.make(
        judgments[0].prompt_id,
        judgments[0].completion_ids,
        consensus_ranks(outcomes, dropped, order),
        pairs=tuple(outcomes),
        judgment_ids=tuple(sorted(judgment.id for judgment in judgments)),
        scores=mean_scores(judgments),
        thumbs=thumbs_share(judgments),
        source="+".join(sorted({SOURCES[judgment.labeler_kind] for judgment in judgments})),
    )


def preferences_of(
    judgments: Iterable[Judgment],
    method: str = "one_coin_em",
    fail_share: float = 0.5,
    *,
    texts: Mapping[str, str] | None = None,
    order: Order = copeland_order,
) -> list[Preference]:
    """One preference per task, by task id; labelers are weighed over all the judgments together."""
    judgments = counted(judgments)
    weights = labeler_weights(judgments, method)
    tasks: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        tasks[judgment.task_id].append(judgment)
    return [task_preference(tasks[task], weights, fail_share, texts=texts, order=order) for task in sorted(tasks)]


def mean_scores(judgments: Sequence[Judgment]) -> dict[str, tuple[float | None, ...]]:
    """Criterion → mean Likert score per completion over those who gave one; {} where nobody was asked."""
    answers = [judgment.answer for judgment in judgments if isinstance(judgment.answer, LikertAnswer)]
    names = sorted({name for answer in answers for name in answer.scores})
    return {name: _means([answer.scores[name] for answer in answers if name in answer.scores]) for name in names}


def thumbs_share(judgments: Sequence[Judgment]) -> tuple[float | None, ...]:
    """Share of thumbs up per completion; () where nobody was asked."""
    return _means([judgment.answer.up for judgment in judgments if isinstance(judgment.answer, ThumbsAnswer)])


def _means(rows: Sequence[Sequence[float | None]]) -> tuple[float | None, ...]:
    """Column means over what is not None."""
    columns = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
    return tuple(sum(column) / len(column) if column else None for column in columns)
