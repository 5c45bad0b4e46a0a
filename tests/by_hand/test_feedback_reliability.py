"""One-coin EM against rounds worked out on paper."""

from __future__ import annotations

from math import exp, log

import pytest

from preflab.feedback.pairs import Vote
from preflab.feedback.reliability import Reliability, one_coin_em, relative_weights, standing


def votes(table: dict[str, str]) -> list[Vote]:
    """Labeler → a sign per task: `+` the first wins, `-` the second, `0` a tie, a space no vote."""
    signs = {"+": 1, "-": -1, "0": 0}
    return [
        Vote(name, str(task), 0, 1, signs[sign])
        for name, row in table.items()
        for task, sign in enumerate(row)
        if sign != " "
    ]


def test_the_first_round_by_hand() -> None:
    # log odds of the pair: 2 ln(0.7/0.3) − ln(0.7/0.3) = ln(7/3), so P(first) = 0.7.
    found = one_coin_em(votes({"a": "+", "b": "+", "c": "-"}), num_rounds=1)
    assert found["a"].accuracy == pytest.approx((0.7 * 2 + 0.7) / 3)
    assert found["c"].accuracy == pytest.approx((0.7 * 2 + 0.3) / 3)


def test_the_second_round_by_hand() -> None:
    # After round 1 a and b are at 0.7 and c at 17/30: odds (7/3)² · (13/17), P(first) = odds / (1 + odds).
    odds = (7 / 3) ** 2 * 13 / 17
    found = one_coin_em(votes({"a": "+", "b": "+", "c": "-"}), num_rounds=2)
    assert found["b"].accuracy == pytest.approx((1.4 + odds / (1 + odds)) / 3)
    assert found["c"].accuracy == pytest.approx((1.4 + 1 / (1 + odds)) / 3)


def test_ties_say_nothing() -> None:
    table = {"a": "++-+", "b": "++-+", "c": "-+-+"}
    plain = one_coin_em(votes(table))
    tied = one_coin_em(votes({name: row + "000" for name, row in table.items()}))
    assert tied == plain
    assert plain["a"].num_votes == 4


def test_who_only_ties_keeps_the_prior() -> None:
    found = one_coin_em(votes({"a": "++", "b": "++", "c": "00"}))
    assert found["c"] == Reliability(0.7, 0)
    assert found["c"].weight == pytest.approx(log(7 / 3))


def test_no_votes_at_all() -> None:
    assert one_coin_em([]) == {}
    assert one_coin_em(votes({"a": "0"})) == {"a": Reliability(0.7, 0)}


def test_complete_agreement_is_clipped() -> None:
    found = one_coin_em(votes({"a": "+-" * 100, "b": "+-" * 100}))
    assert found["a"].accuracy == found["b"].accuracy == pytest.approx(0.98)
    assert found["a"].weight == pytest.approx(log(49))


def test_a_reversed_labeler_weighs_exactly_nothing() -> None:
    found = one_coin_em(votes({"a": "+-+-" * 10, "b": "+-+-" * 10, "c": "-+-+" * 10}))
    # The prior is worth 2 votes at 0.7; all 40 votes are wrong, as nearly as the posteriors of the pairs are certain.
    assert found["c"].accuracy == pytest.approx(1.4 / 42, rel=0.01)
    assert found["c"].weight == 0.0


def test_a_bad_majority_turns_it_round() -> None:
    # The limit that the module states: two reversed against one good, and the good one comes out as reversed.
    found = one_coin_em(votes({"good": "+-+-" * 10, "bad": "-+-+" * 10, "worse": "-+-+" * 10}))
    assert found["good"].weight == 0.0
    assert found["bad"].weight == pytest.approx(log(49))


def test_two_labelers_that_always_differ_cannot_be_told_apart() -> None:
    found = one_coin_em(votes({"a": "+-" * 20, "b": "-+" * 20}))
    assert found["a"].accuracy == pytest.approx(found["b"].accuracy)


def test_weight_is_the_log_odds() -> None:
    assert Reliability(1 / (1 + exp(-1.0)), 5).weight == pytest.approx(1.0)
    assert Reliability(0.5, 5).weight == 0.0
    assert Reliability(0.3, 5).weight == 0.0


def test_relative_weights() -> None:
    odds = {name: Reliability(1 / (1 + exp(-x)), 5) for name, x in {"a": 2.0, "b": 1.0, "c": -3.0}.items()}
    assert relative_weights(odds) == pytest.approx({"a": 1.0, "b": 0.5, "c": 0.0})
    assert relative_weights({"a": Reliability(0.4, 3)}) == {"a": 0.0}
    assert relative_weights({}) == {}


def test_nobody_is_named_on_few_tasks() -> None:
    assert standing(0.1, 19) == "too few tasks to say"
    assert [standing(p, 20) for p in (0.1, 0.5, 0.8)] == ["reversed?", "careless?", "in line"]
