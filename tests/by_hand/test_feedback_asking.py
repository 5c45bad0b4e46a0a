"""What is worth asking, and how many labels are enough: closed forms and orders that must hold."""

from __future__ import annotations

from math import comb, log, log2, pi

import numpy as np
import pytest

from preflab.feedback.asking import consensus_accuracy, labels_for_accuracy, model_disagreement, worth_asking
from preflab.feedback.pair_votes import Vote
from preflab.feedback.reliability import Reliability


def bits(p: float) -> float:
    return -p * log2(p) - (1 - p) * log2(1 - p)


RELIABLE = {name: Reliability(0.75, 40) for name in ("ann", "bob", "cid")}


def votes(*outcomes: int) -> list[Vote]:
    return [Vote(name, "t", 0, 1, outcome) for name, outcome in zip(RELIABLE, outcomes, strict=False)]


def test_worth_asking_of_a_pair_without_votes() -> None:
    # H(½) − H(0.7): the first voter is right with the prior 0.7. Three pairs of three completions.
    assert worth_asking(2, [], {}) == pytest.approx(1 - bits(0.7))
    assert worth_asking(3, [], {}) == pytest.approx(3 * (1 - bits(0.7)))
    assert worth_asking(3, [], {}, dropped=[2]) == pytest.approx(1 - bits(0.7))


def test_worth_asking_after_one_vote_by_hand() -> None:
    # P = ¾ after one vote of 0.75; the next says first with ¾·¾ + ¼·¼ = 5/8, then P = 9/10, else ¼·¾ / (3/8) = ½.
    expected = bits(3 / 4) - (5 / 8 * bits(9 / 10) + 3 / 8 * 1)
    assert worth_asking(2, votes(1), RELIABLE) == pytest.approx(expected)


@pytest.mark.parametrize(("believed", "counted"), [(0.98, 0.95), (0.3, 0.55)])
def test_next_voter_is_neither_infallible_nor_worse_than_chance(believed: float, counted: float) -> None:
    """P is what the one vote says, the next voter's accuracy is held between 0.55 and 0.95."""
    now = believed if believed > 0.5 else 0.5  # a reversed labeler weighs nothing
    says_first = counted * now + (1 - counted) * (1 - now)
    later = says_first * bits(counted * now / says_first)
    later += (1 - says_first) * bits((1 - counted) * now / (1 - says_first))
    assert worth_asking(2, votes(1), {"ann": Reliability(believed, 40)}) == pytest.approx(bits(now) - later)


def test_worth_asking_is_highest_for_close_pairs_and_0_for_ties() -> None:
    order = [votes(1, -1), votes(1, -1, 1), votes(1, 1), votes(1, 1, 1), votes(0, 0, 0)]
    worths = [worth_asking(2, found, RELIABLE) for found in order]
    assert worths == sorted(worths, reverse=True)
    assert worths[0] == pytest.approx(1 - bits(0.75))
    assert worths[-1] == 0.0
    assert worth_asking(2, votes(0, 1, -1), RELIABLE) == pytest.approx(2 / 3 * (1 - bits(0.75)))


def test_worth_asking_is_high_where_confident_reward_models_disagree() -> None:
    sure = log(9)  # σ = 0.9
    assert model_disagreement(np.array([[sure, 0.0], [0.0, sure]]), [(0, 1)]) == pytest.approx(1 - bits(0.9))
    assert model_disagreement(np.array([[0.0, 0.0], [0.0, 0.0]]), [(0, 1)]) == pytest.approx(0.0)
    assert model_disagreement(np.array([[sure, 0.0], [sure, 0.0]]), [(0, 1)]) == pytest.approx(0.0)
    assert model_disagreement(np.array([[sure, 0.0]]), [(0, 1)]) == pytest.approx(0.0)
    plain = worth_asking(2, [], {})
    assert worth_asking(2, [], {}, scores=[[sure, 0.0], [0.0, sure]]) == pytest.approx(plain + 1 - bits(0.9))


def test_consensus_accuracy_for_uniform_difficulty() -> None:
    # Agreement 2/3 is Beta(1, 1): E max(p, 1 − p) = 3/4; three: 2 ∫_½^1 (3p² − 2p³) dp = 2 (7/8 − 15/32) = 13/16.
    assert consensus_accuracy(2 / 3, 1) == pytest.approx(3 / 4)
    assert consensus_accuracy(2 / 3, 2) == pytest.approx(3 / 4)
    assert consensus_accuracy(2 / 3, 3) == pytest.approx(13 / 16)
    # Agreement 3/4 is Beta(½, ½): E max(p, 1 − p) = ½ + 1/π.
    assert consensus_accuracy(3 / 4, 1) == pytest.approx(1 / 2 + 1 / pi)


def test_consensus_accuracy_at_no_and_full_agreement() -> None:
    assert [consensus_accuracy(agreement, 3) for agreement in (0.3, 0.5, 1.0)] == [0.5, 0.5, 1.0]
    rising = [consensus_accuracy(0.72, num) for num in range(1, 16, 2)]
    assert rising == sorted(rising)
    assert rising[-1] < 1


def test_labels_for_accuracy_by_hand() -> None:
    assert labels_for_accuracy(2 / 3, 0.75) == 1
    assert labels_for_accuracy(2 / 3, 0.8) == 3
    assert labels_for_accuracy(2 / 3, 0.999) is None
    assert labels_for_accuracy(0.5, 0.6) is None


def test_labels_for_accuracy_stops_at_fifteen() -> None:
    """On uniformly hard pairs the number k of n votes for the right side is uniform, and p given k is a Beta:

    accuracy(n) = 2 / (n + 1) Σ_{k > n/2} P(Binomial(n + 1, 1/2) <= k).
    """

    def accuracy(n: int) -> float:
        shares = [sum(comb(n + 1, i) for i in range(k + 1)) / 2 ** (n + 1) for k in range((n + 1) // 2, n + 1)]
        return 2 / (n + 1) * sum(shares)

    assert accuracy(3) == pytest.approx(13 / 16)
    for n in (5, 13, 15):
        assert labels_for_accuracy(2 / 3, accuracy(n)) == n
    assert labels_for_accuracy(2 / 3, accuracy(17)) is None
