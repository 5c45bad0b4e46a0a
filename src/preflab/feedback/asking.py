"""Which tasks to ask next, by the expected information of one more label, and how many labels a target needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb, exp

import numpy as np
from scipy.special import betainc, betaln, entr, expit

from preflab.feedback.pair_votes import Vote
from preflab.feedback.reliability import PRIOR_MEAN, Reliability

MOST_LABELS = 15
"""The largest number of labels per task that is ever recommended."""


def worth_asking(
    num_completions: int,
    votes: Sequence[Vote],
    reliabilities: Mapping[str, Reliability],
    scores: Sequence[Sequence[float]] | np.ndarray | None = None,
    dropped: Sequence[int] = (),
) -> float:
    """The information that one more label on a task may add, in bits; tasks with the most are asked first.

        worth = Σ_pairs (1 − tie share) · (H(P) − E H(P after one more vote))  +  Σ_pairs (H(mean P_m) − mean H(P_m))

    P is the probability that the first of the pair is better, given the votes, each weighted by the log-odds of its
    labeler's reliability. The next voter is assumed right with the mean accuracy of the voters so far. Undecided pairs
    gain most; pairs that everybody calls a tie gain nothing. The second sum, over reward models m with
    P_m = σ(score_m,i − score_m,j), is large where the models are confident and disagree (Houlsby et al. 2011), and 0
    where they are all undecided. P is overconfident, because the votes of one ranking are correlated, so the result is
    used to order tasks and for nothing else.

    Args:
        num_completions: K of the task.
        votes: on this task so far.
        reliabilities: labeler → reliability.
        scores: (models, K), each reward model's scores of the completions.
        dropped: indices of completions marked F.
    """
    seen = [reliabilities[vote.labeler].accuracy for vote in votes if vote.labeler in reliabilities]
    accuracy = min(max(float(np.mean(seen)) if seen else PRIOR_MEAN, 0.55), 0.95)
    pairs = [pair for pair in combinations(range(num_completions), 2) if not set(pair) & set(dropped)]
    gain = sum(_gain([vote for vote in votes if vote[2:4] == pair], reliabilities, accuracy) for pair in pairs)
    return gain + (model_disagreement(np.asarray(scores, dtype=float), pairs) if scores is not None else 0.0)


def model_disagreement(scores: np.ndarray, pairs: Sequence[tuple[int, int]]) -> float:
    """Σ_pairs H(mean_m P_m) − mean_m H(P_m), in bits, for scores (models, K); 0 for one model."""
    chances = [expit(scores[:, i] - scores[:, j]) for i, j in pairs]
    return float(sum(_bits(chance.mean()) - _bits(chance).mean() for chance in chances))


def consensus_accuracy(agreement: float, num_labels: int) -> float:
    """The probability that the majority of n labels equals the majority of a very large panel of such labelers.

    Pairs differ in difficulty: the share p of the panel on one side is assumed to follow a symmetric Beta(a, a) whose
    spread reproduces the measured agreement, E[p² + (1 − p)²] = (a + 1)/(2a + 1), so
    a = (1 − agreement)/(2·agreement − 1). The accuracy is 2 Σ_i C(n, i) · E[p^i (1 − p)^(n−i); p > ½] over i > n/2,
    where an even split counts half.

    It measures agreement with the panel, not with a truth that the panel may miss.

    Args:
        agreement: strict agreement of two labelers.
        num_labels: strict votes per pair, n.

    Returns:
        ½ to 1; ½ where agreement is no better than chance.
    """
    if agreement >= 1:
        return 1.0
    if agreement <= 0.5:
        return 0.5
    a = (1 - agreement) / (2 * agreement - 1)
    total = 0.0
    for right in range((num_labels + 1) // 2, num_labels + 1):
        wrong = num_labels - right
        mass = comb(num_labels, right) * exp(betaln(a + right, a + wrong) - betaln(a, a))
        total += (1.0 if right > wrong else 0.5) * 2 * mass * float(1 - betainc(a + right, a + wrong, 0.5))
    return total


def labels_for_accuracy(agreement: float, target: float) -> int | None:
    """The smallest odd number of labels per task whose majority reaches the target accuracy; None if above fifteen.

    Even numbers are skipped: they can split evenly, so a second label adds nothing to the first.
    """
    reach = (num for num in range(1, MOST_LABELS + 1, 2) if consensus_accuracy(agreement, num) >= target - 1e-9)
    return next(reach, None)


def _gain(votes: Sequence[Vote], reliabilities: Mapping[str, Reliability], accuracy: float) -> float:
    """Expected information of one more vote on a pair in bits, times 1 − the share of its votes that are ties."""
    odds = sum(vote.outcome * reliabilities[vote.labeler].weight for vote in votes)
    now = float(expit(odds))
    says_first = accuracy * now + (1 - accuracy) * (1 - now)
    after_first, after_second = accuracy * now / says_first, (1 - accuracy) * now / (1 - says_first)
    later = says_first * _bits(after_first) + (1 - says_first) * _bits(after_second)
    ties = sum(vote.outcome == 0 for vote in votes) / len(votes) if votes else 0.0
    return (1 - ties) * float(_bits(now) - later)


def _bits(chance: float | np.ndarray) -> np.ndarray:
    """H(p) = −p log₂ p − (1 − p) log₂(1 − p)."""
    bits: np.ndarray = (entr(chance) + entr(1 - np.asarray(chance))) / np.log(2)
    return bits
