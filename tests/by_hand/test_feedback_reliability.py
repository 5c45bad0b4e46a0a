"""One-coin EM against rounds worked out on paper."""

from __future__ import annotations

from math import exp, log

import pytest

from preflab.feedback.pair_votes import Vote
from preflab.feedback.reliability import Reliability, one_coin_em, relative_weights
from preflab.feedback.standing import CARELESS, GROUP, IN_LINE, REVERSED, TOO_FEW, standing


def votes(table: dict[str, str]) -> list[Vote]:
    """Labeler → a sign per task: `+` the first wins, `-` the second, `0` a tie, a space no vote."""
    signs = {"+": 1, "-": -1, "0": 0}
    return [
        Vote(name, str(task), 0, 1, signs[sign])
        for name, row in table.items()
        for task, sign in enumerate(row)
        if sign != " "
    ]


def test_one_coin_em_first_round_by_hand() -> None:
    # log odds of the pair: 2 ln(0.7/0.3) − ln(0.7/0.3) = ln(7/3), so P(first) = 0.7.
    found = one_coin_em(votes({"a": "+", "b": "+", "c": "-"}), num_rounds=1)
    assert found["a"].accuracy == pytest.approx((0.7 * 2 + 0.7) / 3)
    assert found["c"].accuracy == pytest.approx((0.7 * 2 + 0.3) / 3)


def test_one_coin_em_second_round_by_hand() -> None:
    # After round 1 a and b are at 0.7 and c at 17/30: odds (7/3)² · (13/17), P(first) = odds / (1 + odds).
    odds = (7 / 3) ** 2 * 13 / 17
    found = one_coin_em(votes({"a": "+", "b": "+", "c": "-"}), num_rounds=2)
    assert found["b"].accuracy == pytest.approx((1.4 + odds / (1 + odds)) / 3)
    assert found["c"].accuracy == pytest.approx((1.4 + 1 / (1 + odds)) / 3)


def test_one_coin_em_ignores_ties() -> None:
    table = {"a": "++-+", "b": "++-+", "c": "-+-+"}
    plain = one_coin_em(votes(table))
    tied = one_coin_em(votes({name: row + "000" for name, row in table.items()}))
    assert tied == plain
    assert plain["a"].num_votes == 4


def test_one_coin_em_keeps_the_prior_for_a_labeler_with_only_ties() -> None:
    found = one_coin_em(votes({"a": "++", "b": "++", "c": "00"}))
    assert found["c"] == Reliability(0.7, 0)
    assert found["c"].weight == pytest.approx(log(7 / 3))


def test_one_coin_em_without_votes() -> None:
    assert one_coin_em([]) == {}
    assert one_coin_em(votes({"a": "0"})) == {"a": Reliability(0.7, 0)}


def test_one_coin_em_clips_complete_agreement() -> None:
    found = one_coin_em(votes({"a": "+-" * 100, "b": "+-" * 100}))
    assert found["a"].accuracy == found["b"].accuracy == pytest.approx(0.98)
    assert found["a"].weight == pytest.approx(log(49))


def test_reliability_weight_of_a_reversed_labeler_is_0() -> None:
    found = one_coin_em(votes({"a": "+-+-" * 10, "b": "+-+-" * 10, "c": "-+-+" * 10}))
    # The prior is worth 2 votes at 0.7; all 40 votes are wrong, as nearly as the posteriors of the pairs are certain.
    assert found["c"].accuracy == pytest.approx(1.4 / 42, rel=0.01)
    assert found["c"].weight == 0.0


def test_one_coin_em_flips_with_a_bad_majority() -> None:
    # The limit that the module states: two reversed against one good, and the good one comes out as reversed.
    found = one_coin_em(votes({"good": "+-+-" * 10, "bad": "-+-+" * 10, "worse": "-+-+" * 10}))
    assert found["good"].weight == 0.0
    assert found["bad"].weight == pytest.approx(log(49))


def test_one_coin_em_gives_two_opposed_labelers_the_same_accuracy() -> None:
    found = one_coin_em(votes({"a": "+-" * 20, "b": "-+" * 20}))
    assert found["a"].accuracy == pytest.approx(found["b"].accuracy)


def test_reliability_weight_is_the_log_odds() -> None:
    assert Reliability(1 / (1 + exp(-1.0)), 5).weight == pytest.approx(1.0)
    assert Reliability(0.5, 5).weight == 0.0
    assert Reliability(0.3, 5).weight == 0.0


def test_relative_weights() -> None:
    odds = {name: Reliability(1 / (1 + exp(-x)), 5) for name, x in {"a": 1.2, "b": 0.6, "c": -3.0}.items()}
    assert relative_weights(odds) == pytest.approx({"a": 1.0, "b": 0.5, "c": 0.0})
    assert relative_weights({"a": Reliability(0.4, 3)}) == {"a": 0.0}
    assert relative_weights({}) == {}


def test_one_coin_em_keeps_the_winner_of_a_gold_pair() -> None:
    # Two against one, but the one is known to be right: each is judged by the gold pair alone.
    found = one_coin_em(votes({"a": "+", "b": "-", "c": "-"}), known={("0", 0, 1): 1})
    assert found["a"].accuracy == pytest.approx((0.7 * 2 + 1) / 3)
    assert found["b"].accuracy == pytest.approx((0.7 * 2 + 0) / 3)


def test_one_coin_em_with_gold_corrects_a_bad_majority() -> None:
    table = {"good": "+-+-" * 10, "bad": "-+-+" * 10, "worse": "-+-+" * 10}
    known = {(str(task), 0, 1): 1 if task % 2 == 0 else -1 for task in range(20)}
    found = one_coin_em(votes(table), known=known)
    assert found["good"].weight == pytest.approx(log(49), rel=0.1)
    assert found["bad"].weight == found["worse"].weight == 0.0


def test_standing_requires_enough_tasks() -> None:
    accuracies = (0.1, 0.5, 0.8)
    assert [standing(p, 59) for p in accuracies] == [TOO_FEW] * 3
    assert [standing(p, 60) for p in accuracies] == [REVERSED, CARELESS, IN_LINE]
    assert [standing(p, 39, num_gold=20) for p in accuracies] == [TOO_FEW] * 3
    assert [standing(p, 40, num_gold=4) for p in accuracies] == [REVERSED, CARELESS, IN_LINE]
    assert [standing(p, 40, num_gold=3) for p in accuracies] == [TOO_FEW] * 3


def test_standing_requires_enough_votes() -> None:
    assert standing(0.5, 100, num_votes=109) == TOO_FEW
    assert standing(0.5, 100, num_votes=110) == CARELESS


def test_standing_of_a_group_member() -> None:
    assert [standing(p, 60, in_group=True) for p in (0.1, 0.5, 0.8)] == [GROUP] * 3
    assert standing(0.5, 59, in_group=True) == TOO_FEW


def test_standings_begin_at_their_ends() -> None:
    assert [standing(p, 60, 110) for p in (0.344, 0.345, 0.644, 0.645)] == [REVERSED, CARELESS, CARELESS, IN_LINE]
