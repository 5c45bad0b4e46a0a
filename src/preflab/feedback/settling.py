"""What becomes of each pair of one task: settled, a tie, implied by others, or open until an adjudicator decides.

| state | when | goes into training |
| --- | --- | --- |
| `settled` | every best order puts one above the other, and the margin says so too | yes |
| `tied` | no margin, and more than half of the weight calls it a tie | no |
| `implied` | an even split that the other pairs settle: a over b and b over c leave a over c | no |
| `open` | best orders differ on it, or its margin contradicts them | no, until it is decided |
| `decided` | it was open, and an adjudicator has said which | yes |
| `closed` | it was open, and an adjudicator has called it a tie or one of the two an F | no |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from preflab.feedback.order import DECIMALS, Order, OrderRule, ranks_of
from preflab.feedback.pairs import Vote, failed, pair_votes
from preflab.records import Judgment, PairOutcome

State = Literal["settled", "tied", "implied", "open", "decided", "closed"]
LEARNED = ("settled", "decided")
EVEN = 0.01
"""Sides that differ by less than this are an even split; 1 is the weight of the most reliable labeler.

Reliabilities are not known that well: one against one at 1.0000 and 0.9999 would be decided by a coin.
"""


@dataclass(frozen=True)
class SettledPair:
    """A pair with the votes on it and what they come to."""

    outcome: PairOutcome
    state: State


def vote_sums(votes: Iterable[Vote], weights: Mapping[str, float], dropped: Sequence[bool]) -> list[PairOutcome]:
    """The weighted votes for, against and for a tie, of every pair somebody voted on; pairs with an F left out.

    Nearly even sides are made even (`EVEN`).
    """
    sums: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for vote in votes:
        if not (dropped[vote.first] or dropped[vote.second]):
            column = {1: 0, -1: 1, 0: 2}[vote.outcome]
            sums[vote.first, vote.second][column] += weights[vote.labeler]
    return [PairOutcome(*pair, *_even_or_not(*sums[pair]), 0.0) for pair in sorted(sums)]


def _even_or_not(num_for: float, num_against: float, num_tie: float) -> tuple[float, float, float]:
    """The three sums, rounded; both sides the same where they differ by less than `EVEN`."""
    if abs(num_for - num_against) < EVEN:
        num_for = num_against = (num_for + num_against) / 2
    return round(num_for, DECIMALS), round(num_against, DECIMALS), round(num_tie, DECIMALS)


def order_of(outcomes: Sequence[PairOutcome], dropped: Sequence[bool], rule: OrderRule) -> Order:
    """The order of the completions that are left; `above` covers all of them, False for those dropped."""
    left = [i for i, gone in enumerate(dropped) if not gone]
    margins = np.zeros((len(dropped), len(dropped)))
    for outcome in outcomes:
        margins[outcome.first, outcome.second], margins[outcome.second, outcome.first] = outcome.margin, -outcome.margin
    order = rule(margins[np.ix_(left, left)])
    above = np.zeros(margins.shape, dtype=bool)
    above[np.ix_(left, left)] = order.above
    return replace(order, above=above)


def settle(outcomes: Iterable[PairOutcome], order: Order) -> list[SettledPair]:
    """The state of every pair before anybody adjudicates."""
    return [SettledPair(outcome, _state(outcome, order.above)) for outcome in outcomes]


def decide(pairs: Iterable[SettledPair], decision: Judgment | None, criterion: str | None = None) -> list[SettledPair]:
    """Let an adjudicator's judgment decide what is open, and nothing else.

    A decided pair carries the adjudicator's vote alone; the labelers' own stay in their judgments.
    """
    if decision is None:
        return list(pairs)
    decided = {(vote.first, vote.second): vote.outcome for vote in pair_votes(decision, criterion)}
    marks = failed(decision)
    return [_decided(pair, decided, marks) if pair.state == "open" else pair for pair in pairs]


def weighted(pairs: Sequence[SettledPair]) -> list[SettledPair]:
    """Pairs that are learned from share a weight of 1 equally; the others weigh 0."""
    num = sum(pair.state in LEARNED for pair in pairs)
    return [
        replace(pair, outcome=replace(pair.outcome, weight=1 / num if pair.state in LEARNED else 0.0)) for pair in pairs
    ]


def consensus_ranks(pairs: Iterable[SettledPair], order: Order, dropped: Sequence[bool]) -> tuple[int | None, ...]:
    """Ranks of the completions that are left, equal where nothing settles them; None for those dropped."""
    above = order.above.copy()
    for pair in pairs:
        i, j = pair.outcome.first, pair.outcome.second
        if pair.state in ("decided", "closed"):
            above[i, j], above[j, i] = pair.outcome.margin > 0, pair.outcome.margin < 0
    left = [i for i, gone in enumerate(dropped) if not gone]
    ranks = dict(zip(left, ranks_of(above[np.ix_(left, left)]), strict=True))
    return tuple(ranks.get(i) for i in range(len(dropped)))


def _state(outcome: PairOutcome, above: np.ndarray) -> State:
    direction = int(above[outcome.first, outcome.second]) - int(above[outcome.second, outcome.first])
    if outcome.margin == 0:
        total = outcome.num_for + outcome.num_against + outcome.num_tie
        if outcome.num_tie > total / 2:
            return "tied"
        return "implied" if direction else "open"
    return "settled" if direction * outcome.margin > 0 else "open"


def _decided(pair: SettledPair, said: Mapping[tuple[int, int], int], marks: Sequence[bool]) -> SettledPair:
    i, j = pair.outcome.first, pair.outcome.second
    if marks[i] or marks[j]:
        return SettledPair(PairOutcome(i, j, 0.0, 0.0, 0.0, 0.0), "closed")
    if (i, j) not in said:
        return pair
    vote = said[i, j]
    outcome = PairOutcome(i, j, float(vote > 0), float(vote < 0), float(vote == 0), 0.0)
    return SettledPair(outcome, "decided" if vote else "closed")
