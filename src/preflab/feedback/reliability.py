"""Labeler reliability by one-coin expectation–maximisation over the votes on pairs.

The model: every pair has a true winner, and labeler l names it with probability p_l, which is the same for all pairs. A
tie carries no information about p_l. Limits of the model:

- Two labelers are not identified: if they disagree, the data do not say who is right.
- It trusts the majority. If most labelers are careless or read the scale backwards, the solution flips and the good
  labelers come out as the bad ones.
- It treats the pairs of one ranking as independent, which they are not. So p_l ranks labelers, but its distance from
  0.5 is exaggerated, and the posterior of a pair is not a calibrated probability and is never used as one.
- It needs many votes before a labeler may be flagged: see `standing.py`.

After Dawid and Skene 1979, with one parameter per labeler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from preflab.feedback.pair_votes import Vote

PRIOR_MEAN, PRIOR_WEIGHT = 0.7, 2.0
"""Mean of the prior of a labeler's accuracy, and the prior's strength in votes."""
CLIP = 0.02
KNOWN_LOG_ODDS = 20.0
"""Log-odds of the known winner of a gold pair."""
NUM_ROUNDS = 50
Known = Mapping[tuple[str, int, int], int]
"""(task, first, second) → the outcome that is known to be right: +1 or −1 (`gold.known_outcomes`)."""


@dataclass(frozen=True)
class Reliability:
    """One labeler's accuracy, as estimated from votes."""

    accuracy: float
    """Probability of naming the true winner of a pair, 0.02 to 0.98."""
    num_votes: int
    """Number of votes behind the estimate, without ties."""

    @property
    def weight(self) -> float:
        """max(0, log(p / (1 − p))): about 0 for a careless labeler, exactly 0 for a reversed one."""
        return max(0.0, float(np.log(self.accuracy / (1 - self.accuracy))))


def one_coin_em(
    votes: Iterable[Vote],
    num_rounds: int = NUM_ROUNDS,
    *,
    known: Known | None = None,
    mean: float = PRIOR_MEAN,
    strength: float = PRIOR_WEIGHT,
    overdispersion: float = 1.0,
) -> dict[str, Reliability]:
    """The accuracy of every labeler with at least one vote, by expectation–maximisation.

    E: log P(first wins) / P(second wins) = Σ_l v_l log(p_l / (1 − p_l)) over a pair’s votes v_l ∈ {+1, −1}.
    M: p_l = (m · s + Σ P(the winner l named) / φ) / (s + number of l’s votes / φ), clipped to [0.02, 0.98].
    All p_l start at m, so the first E step is the plain majority. A gold pair keeps its known winner.

    Args:
        votes: on pairs; ties are ignored.
        num_rounds: rounds of the two steps.
        known: outcomes of gold pairs.
        mean: m, the mean of the prior.
        strength: s, the strength of the prior in votes.
        overdispersion: φ, the number of correlated votes that carry the information of one independent vote.
    """
    votes, known = list(votes), known or {}
    names = {name: i for i, name in enumerate(sorted({vote.labeler for vote in votes}))}
    decided = [vote for vote in votes if vote.outcome != 0]
    labelers = np.array([names[vote.labeler] for vote in decided], dtype=int)
    places: dict[tuple[str, int, int], int] = {}
    pairs = np.array([places.setdefault(vote[1:4], len(places)) for vote in decided], dtype=int)
    outcomes = np.array([vote.outcome for vote in decided], dtype=float)
    gold = KNOWN_LOG_ODDS * np.array([known.get(pair, 0) for pair in places], dtype=float)
    num_votes = np.bincount(labelers, minlength=len(names))
    accuracy = np.full(len(names), mean)
    for _ in range(num_rounds if decided else 0):
        log_odds = np.bincount(pairs, outcomes * np.log(accuracy / (1 - accuracy))[labelers])
        log_odds = np.where(gold != 0, gold, log_odds)
        named_winner = 1 / (1 + np.exp(-outcomes * log_odds[pairs]))
        right = np.bincount(labelers, named_winner, minlength=len(names))
        accuracies = (mean * strength + right / overdispersion) / (strength + num_votes / overdispersion)
        accuracy = np.clip(accuracies, CLIP, 1 - CLIP)
    return {name: Reliability(float(accuracy[i]), int(num_votes[i])) for name, i in names.items()}


def relative_weights(reliabilities: Mapping[str, Reliability]) -> dict[str, float]:
    """Weights scaled so that the most reliable labeler weighs 1 (all 0 if nobody is better than chance)."""
    top = max((reliability.weight for reliability in reliabilities.values()), default=0.0)
    return {name: reliability.weight / top if top > 0 else 0.0 for name, reliability in reliabilities.items()}
