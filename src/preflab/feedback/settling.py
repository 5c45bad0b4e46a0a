"""Gives each pair of one task its state: settled, tied, implied by other pairs, or open until an adjudicator decides.

| state | when | goes into training |
| --- | --- | --- |
| `settled` | every best order puts one completion above the other, and the margin agrees | yes |
| `tied` | the margin is 0, and more than half of the weight votes for a tie | no |
| `implied` | an even split that other pairs decide: a over b and b over c imply a over c | no |
| `open` | the best orders differ on it, or its margin contradicts them | no, until it is decided |
| `decided` | it was open, and an adjudicator has chosen one completion | yes |
| `closed` | it was open, and an adjudicator has called it a tie or marked one of the two F | no |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from preflab.feedback.order import DECIMALS, Order, OrderRule, ranks_from_relation
from preflab.feedback.pair_votes import Vote, failed, pair_votes
from preflab.records import Judgment, PairOutcome

State = Literal["settled", "tied", "implied", "open", "decided", "closed"]
LEARNED = ("settled", "decided")
EVEN = 0.01
"""Summed weights that differ by less than this are an even split; 1 is the weight of the most reliable labeler.

Estimates of reliability are not that precise: to let 1.0000 win against 0.9999 would decide the pair by chance.
"""


@dataclass(frozen=True)
class SettledPair:
    """A pair with its summed votes and its state."""

    outcome: PairOutcome
    state: State


def vote_sums(votes: Iterable[Vote], weights: Mapping[str, float], dropped: Sequence[bool]) -> list[PairOutcome]:
    """The weighted votes for, against and for a tie of every pair with a vote, without pairs that contain an F.

    Nearly equal sums for and against are made equal (`EVEN`).
    """
    sums: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for vote in votes:
        if not (dropped[vote.first] or dropped[vote.second]):
            column = {1: 0, -1: 1, 0: 2}[vote.outcome]
            sums[vote.first, vote.second][column] += weights[vote.labeler]
    return [PairOutcome(*pair, *_round_sums(*sums[pair]), 0.0) for pair in sorted(sums)]


def _round_sums(num_for: float, num_against: float, num_tie: float) -> tuple[float, float, float]:
    """The three sums, rounded; for and against are made equal where they differ by less than `EVEN`."""
    if abs(num_for - num_against) < EVEN:
        num_for = num_against = (num_for + num_against) / 2
    return round(num_for, DECIMALS), round(num_against, DECIMALS), round(num_tie, DECIMALS)


def find_order(outcomes: Sequence[PairOutcome], dropped: Sequence[bool], rule: OrderRule) -> Order:
    """The order of the completions not dropped; `above` has all completions, with False for dropped ones."""
    left = [i for i, is_dropped in enumerate(dropped) if not is_dropped]
    margins = np.zeros((len(dropped), len(dropped)))
    for outcome in outcomes:
        margins[outcome.first, outcome.second], margins[outcome.second, outcome.first] = outcome.margin, -outcome.margin
    order = rule(margins[np.ix_(left, left)])
    above = np.zeros(margins.shape, dtype=bool)
    above[np.ix_(left, left)] = order.above
    return replace(order, above=above)


def settle(outcomes: Iterable[PairOutcome], order: Order) -> list[SettledPair]:
    """The state of every pair before adjudication."""
    return [SettledPair(outcome, _state(outcome, order.above)) for outcome in outcomes]


def decide(pairs: Iterable[SettledPair], decision: Judgment | None, criterion: str | None = None) -> list[SettledPair]:
    """Let an adjudicator's judgment decide the open pairs; other pairs are unchanged.

    A decided pair holds the adjudicator's vote alone; the labelers' votes remain in their judgments.
    """
    if decision is None:
        return list(pairs)
    decided = {(vote.first, vote.second): vote.outcome for vote in pair_votes(decision, criterion)}
    marks = failed(decision)
    return [_decide_pair(pair, decided, marks) if pair.state == "open" else pair for pair in pairs]


def share_weight(pairs: Sequence[SettledPair]) -> list[SettledPair]:
    """Give the training pairs (`LEARNED`) equal weights that sum to 1, and the others weight 0."""
    num = sum(pair.state in LEARNED for pair in pairs)
    return [
        replace(pair, outcome=replace(pair.outcome, weight=1 / num if pair.state in LEARNED else 0.0)) for pair in pairs
    ]


def consensus_ranks(pairs: Iterable[SettledPair], order: Order, dropped: Sequence[bool]) -> tuple[int | None, ...]:
    """Ranks of the completions, equal where no pair settles them; None for dropped ones."""
    above = order.above.copy()
    for pair in pairs:
        i, j = pair.outcome.first, pair.outcome.second
        if pair.state in ("decided", "closed"):
            above[i, j], above[j, i] = pair.outcome.margin > 0, pair.outcome.margin < 0
    left = [i for i, is_dropped in enumerate(dropped) if not is_dropped]
    ranks = dict(zip(left, ranks_from_relation(above[np.ix_(left, left)]), strict=True))
    return tuple(ranks.get(i) for i in range(len(dropped)))


def _state(outcome: PairOutcome, above: np.ndarray) -> State:
    direction = int(above[outcome.first, outcome.second]) - int(above[outcome.second, outcome.first])
    if outcome.margin == 0:
        total = outcome.num_for + outcome.num_against + outcome.num_tie
        if outcome.num_tie > total / 2:
            return "tied"
        return "implied" if direction else "open"
    return "settled" if direction * outcome.margin > 0 else "open"


def _decide_pair(pair: SettledPair, votes: Mapping[tuple[int, int], int], marks: Sequence[bool]) -> SettledPair:
    """An open pair after the decision with these votes on pairs and these F marks."""
    i, j = pair.outcome.first, pair.outcome.second
    if marks[i] or marks[j]:
        return SettledPair(PairOutcome(i, j, 0.0, 0.0, 0.0, 0.0), "closed")
    if (i, j) not in votes:
        return pair
    vote = votes[i, j]
    outcome = PairOutcome(i, j, float(vote > 0), float(vote < 0), float(vote == 0), 0.0)
    return SettledPair(outcome, "decided" if vote else "closed")
