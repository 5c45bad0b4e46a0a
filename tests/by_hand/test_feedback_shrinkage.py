"""Reliabilities shrunk to the campaign's own prior: every number here is worked out on paper."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest

from preflab.feedback.consensus import consensus_of
from preflab.feedback.pair_votes import Vote
from preflab.feedback.reading import USUAL, Reading
from preflab.feedback.reliability import Reliability, one_coin_em, relative_weights
from preflab.feedback.shrinkage import (
    Checks,
    Prior,
    count_checks,
    estimate_prior,
    find_unidentified,
    shrink_reliabilities,
)
from preflab.feedback.standing import IN_LINE, TOO_FEW, UNTOLD, standing
from preflab.records import Judgment, RankingAnswer


def votes(table: dict[str, str]) -> list[Vote]:
    """Labeler → a sign per task: `+` the first wins, `-` the second, `0` a tie, a space no vote."""
    signs = {"+": 1, "-": -1, "0": 0}
    return [
        Vote(name, str(task), 0, 1, signs[sign])
        for name, row in table.items()
        for task, sign in enumerate(row)
        if sign != " "
    ]


def judged(table: dict[str, str]) -> list[Judgment]:
    ranks = {"+": (1, 2), "-": (2, 1), "0": (1, 1)}
    return [
        Judgment(
            id=f"{task}/{name}", campaign_id="c", task_id=f"{task:02}", prompt_id="p", completion_ids=("a", "b"),
            shown_order=(0, 1), question="?", polarity=1, answer=RankingAnswer(ranks[sign]), labeler_id=name,
            labeler_kind="person",
        )
        for name, row in table.items()
        for task, sign in enumerate(row)
        if sign != " "
    ]  # fmt: skip


def test_count_checks_once_per_couple_and_labeler() -> None:
    # Task 0: a and b agree, c does not: a has 2 checks, 1 of them agrees; b too; c 2, none. Task 1: a, b differ.
    found = count_checks(votes({"a": "++", "b": "+-", "c": "- "}))
    rows = sorted(zip(found.labeler.tolist(), found.agreed.tolist(), found.num.tolist(), strict=True))
    assert rows == [(0, 0.0, 1.0), (0, 1.0, 2.0), (1, 0.0, 1.0), (1, 1.0, 2.0), (2, 0.0, 2.0)]
    assert found.share == 2 / 8


def test_count_checks_ignores_ties_and_single_votes() -> None:
    assert not len(count_checks(votes({"a": "+ ", "b": " +"})).num)
    assert not len(count_checks([vote for vote in votes({"a": "+", "b": "0"}) if vote.outcome]).num)


def test_shrink_reliabilities_gives_two_labelers_equal_weights() -> None:
    # Four tasks agreed, six not, and b has judged one more. 8 of 20 checks agree: A = (8 + 1.16) / 22 = 0.416, so
    # 2A − 1 < 0.01 and m = (1 + 0.1) / 2 = 0.55.
    table = {"a": "++++++++++ ", "b": "++++------+"}
    found = shrink_reliabilities(votes(table))
    assert found == {"a": Reliability(pytest.approx(0.55), 10), "b": Reliability(pytest.approx(0.55), 11)}  # type: ignore[arg-type]
    assert relative_weights(found) == {"a": 1.0, "b": 1.0}
    settled = consensus_of(judged(table))
    assert [len(each.unresolved) for each in settled] == [0] * 4 + [1] * 6 + [0]
    assert USUAL.weights(judged(table)) == {"a": 1.0, "b": 1.0}


def test_one_coin_em_without_shrinkage_decides_even_splits() -> None:
    """Why reliabilities are shrunk: one more task gave one of two labelers more weight, and so every even split."""
    raw = one_coin_em(votes({"a": "++++++++++ ", "b": "++++------+"}))
    assert relative_weights(raw) == pytest.approx({"a": 0.60, "b": 1.0}, abs=0.005)


def test_estimate_prior_without_checks_has_the_default_mean() -> None:
    # No check: A = 1.16 / 2 = 0.58, ū = √0.16 = 0.4, m = 0.7.
    prior = estimate_prior(votes({"a": "+ ", "b": " +"}))
    assert prior.mean == pytest.approx(0.7)
    assert prior.strength == inf
    assert prior.unidentified == {"a", "b"}
    assert {each.accuracy for each in shrink_reliabilities(votes({"a": "+ ", "b": " 0"})).values()} == {prior.mean}


def test_estimate_prior_of_full_agreement_stays_below_1() -> None:
    # 2 checks agree of 2: A = 3.16 / 4 = 0.79, m = (1 + √0.58) / 2; of very many, m stays below 1.
    assert estimate_prior(votes({"a": "+", "b": "+"})).mean == pytest.approx((1 + sqrt(0.58)) / 2)
    assert estimate_prior(votes({"a": "+" * 5000, "b": "+" * 5000})).mean == 0.98


REVERSED = {"a": "+" * 12, "b": "+" * 12, "c": "+" * 12, "r": "-" * 12}
"""Per task 6 couples, of which 3 agree. a has 2 agreeing checks of 3 in each task, r none of 3."""


def test_checks_spread_by_hand() -> None:
    found = count_checks(votes(REVERSED))
    assert found.share == 0.5
    # Every task is like the others, so nothing varies inside a labeler: φ = 1, the least it can be.
    assert found.overdispersion == pytest.approx(1.0)
    # Q = (3 · 36 · (2/3 − 1/2)² + 36 · (1/2)²) / 0.25 = (3 + 9) / 0.25 = 48, beyond 7.81 (3 degrees, 95 %).
    # Variance: (48 − 3) · 0.25 / (144 − 4 · 36² / 144) = 45 · 0.25 / 108 = 0.1042.
    assert found.spread() == pytest.approx(45 * 0.25 / 108)
    # A = (72 + 1.16) / 146, ū² = 2A − 1 = 0.0021, so 0.01 is taken, m = 0.55, Var p = 10.42, s = 2 at least.
    prior = estimate_prior(votes(REVERSED))
    assert (prior.mean, prior.strength, prior.overdispersion, prior.unidentified) == (
        pytest.approx(0.55),
        2.0,
        1.0,
        frozenset(),
    )


def rows(*given: tuple[int, float, float]) -> Checks:
    """(labeler, agreed, checks) of each task."""
    return Checks(*(np.array(column) for column in zip(*given, strict=True)))


def test_votes_that_hang_together_with_two_tasks_each_and_with_fewer() -> None:
    """Shares 2/4 and 3/4, of all 5/8: a (1 − a) = 15/64 and 8 checks.

    Two tasks each: 4 / 2 · (1² + 1² + ½² + ½²) / (15/8) = 8/3. With three labelers and four tasks around 5/8.
    """
    two = rows((0, 2, 2), (0, 0, 2), (1, 2, 2), (1, 1, 2))
    assert two.overdispersion == pytest.approx(8 / 3)
    three = rows((0, 2, 2), (0, 0, 2), (1, 2, 2), (2, 1, 2))
    assert three.overdispersion == pytest.approx((0.75**2 + 1.25**2 + 0.75**2 + 0.25**2) / (15 / 8))


def test_without_checks_or_with_one_labeler_nobody_differs() -> None:
    nothing = Checks(np.zeros(0, int), np.zeros(0), np.zeros(0))
    assert (nothing.share, nothing.overdispersion, nothing.spread()) == (0, 1, 0)
    assert rows((0, 1, 1), (0, 0, 1)).spread() == 0


def test_shrink_reliabilities_of_a_significantly_reversed_labeler() -> None:
    found = shrink_reliabilities(votes(REVERSED))
    # All pairs are as good as certain: (0.55 · 2 + 12) / 14 and (0.55 · 2 + 0) / 14.
    assert found["a"].accuracy == pytest.approx(13.1 / 14, abs=1e-3)
    assert found["r"].accuracy == pytest.approx(1.1 / 14, abs=1e-3)
    assert relative_weights(found)["r"] == 0.0


def test_estimate_prior_is_infinitely_strong_after_one_task_but_not_two() -> None:
    # Q = 48 / 6 = 8 of 12 tasks' 48: just beyond 7.81; of one task 4, and then nobody is believed to be worse.
    assert estimate_prior(votes({name: row[:2] for name, row in REVERSED.items()})).strength == 2.0
    one = votes({name: row[:1] for name, row in REVERSED.items()})
    assert estimate_prior(one).strength == inf
    assert set(relative_weights(shrink_reliabilities(one)).values()) == {1.0}


def test_overdispersion_of_votes_of_one_ranking() -> None:
    """Six pairs of one task that all go one way say as much as one: φ = 6, and the spread is chance again."""
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    ranked = [Vote(name, "t", i, j, -1 if name == "r" else 1) for name in "abcr" for i, j in pairs]
    apart = [Vote(name, f"{i}{j}", 0, 1, -1 if name == "r" else 1) for name in "abcr" for i, j in pairs]
    # One task each, so around the common share: a 12 of 18 checks, r none of 18; (12 − 9)² · 3 + 9² = 108, over
    # 0.25 · 72 = 18.
    assert count_checks(ranked).overdispersion == pytest.approx(6.0)
    assert count_checks(apart).overdispersion == pytest.approx(1.0)
    assert estimate_prior(ranked).overdispersion == pytest.approx(6.0)
    assert estimate_prior(ranked).strength == inf
    assert estimate_prior(apart).strength == 2.0


def test_estimate_prior_strength_by_hand() -> None:
    table = {"a": "+" * 60, "b": "+" * 60, "c": "+" * 45 + "-" * 15, "d": "+-" * 30}
    found, prior = count_checks(votes(table)), estimate_prior(votes(table))
    # Tasks 0–44, even: all four agree (12 of 12 checks); odd: d differs (6 of 12). 45–59, even: c (6 of 12);
    # odd: a, b against c, d (4 of 12). 23 even and 22 odd of the 45; 7 even and 8 odd of the 15.
    agreed = 23 * 12 + 22 * 6 + 7 * 6 + 8 * 4
    assert found.share == pytest.approx(agreed / 720)
    # Per task, agreed of 3 checks: a and b 3 in 23 tasks, 2 in 29, 1 in 8 (135 of 180); c 3 in 23, 2 in 22, none in
    # 7, 1 in 8 (121); d 3 in 23, none in 22, 2 in 7, 1 in 8 (91). φ is their variance around each one's own mean.
    rows = {
        135: ((3, 23), (2, 29), (1, 8)),
        121: ((3, 23), (2, 22), (0, 7), (1, 8)),
        91: ((3, 23), (0, 22), (2, 7), (1, 8)),
    }
    apart = {total: sum(num * (agrees - 3 * total / 180) ** 2 for agrees, num in row) for total, row in rows.items()}
    chance = agreed / 720 * (1 - agreed / 720)
    together = 240 / 236 * (2 * apart[135] + apart[121] + apart[91]) / (chance * 720)
    assert found.overdispersion == pytest.approx(together)
    differ = sum(180 * (total / 180 - agreed / 720) ** 2 for total in (135, 135, 121, 91)) / (together * chance)
    assert found.spread() == pytest.approx((differ - 3) * together * chance / (720 - 4 * 180**2 / 720))
    share = (agreed + 1.16) / 722
    assert prior.mean == pytest.approx((1 + sqrt(2 * share - 1)) / 2)
    variance = found.spread() / (2 * share - 1)
    assert prior.strength == pytest.approx(prior.mean * (1 - prior.mean) / variance - 1)
    assert 2 < prior.strength < 30
    # M step: p_l = (m s + r / φ) / (s + 60 / φ), so between the prior's mean and the share of winners named.
    believed = shrink_reliabilities(votes(table))
    assert believed["a"].accuracy > believed["c"].accuracy > believed["d"].accuracy


def test_estimate_prior_with_known_answers_separates_two_labelers() -> None:
    # On four gold pairs a is right and b wrong: shares 1 and 0, Q = 4 · (0.25 + 0.25) / 0.25 = 8, beyond 3.84 (1
    # degree); variance (8 − 1) · 0.25 / (8 − 4) = 0.4375, so s = 2. Nothing else is checked but t, an even split.
    known = {(str(task), 0, 1): 1 for task in range(4)}
    table = votes({"a": "+++++", "b": "-----"})
    prior = estimate_prior(table, known=known)
    assert (prior.strength, prior.unidentified) == (2.0, frozenset())
    assert prior.mean == pytest.approx(0.55)  # A = (0 + 1.16) / 4
    found = shrink_reliabilities(table, known=known)
    # Four known and one as good as sure: (0.55 · 2 + 4 + 1) / (2 + 5) = 0.871 at most.
    assert 0.8 < found["a"].accuracy < 6.1 / 7
    assert found["b"].weight == 0.0
    few = dict.fromkeys(list(known)[:1], 1)
    assert estimate_prior(table, known=few).strength == inf  # Q = 1 · (0.25 + 0.25) / 0.25 = 2


def test_known_answers_that_labelers_were_asked_alone() -> None:
    """a is right on 90 of 100 tasks, b on 70 of 100 others, each with two votes that go the same way.

    Of 400 checks 320 are right: a (1 − a) = 0.16, φ = 200/198 · (90 · 0.2² + 10 · 1.8² + 70 · 0.6² + 30 · 1.4²) / 64
    = 125/66. Q = (200 · 0.1² + 200 · 0.1²) / (0.16 φ) = 13.2, so the variance is 12.2 · 0.16 φ / (400 − 200) = 61/3300.
    Nobody checks another: m = 0.7, and s = 0.21 / (61/3300) − 1 = 632/61. A vote counts 1/φ.
    """
    right = {"a": 90, "b": 70}
    given = [
        Vote(name, f"{name}{task}", 0, second, 1 if task < right[name] else -1)
        for name in right
        for task in range(100)
        for second in (1, 2)
    ]
    known = {(vote.task, vote.first, vote.second): 1 for vote in given}
    prior = estimate_prior(given, known=known)
    assert prior == Prior(pytest.approx(0.7), pytest.approx(632 / 61), pytest.approx(125 / 66), frozenset())  # type: ignore[arg-type]
    strength, together = 632 / 61, 125 / 66
    for name, each in shrink_reliabilities(given, known=known).items():
        expected = (0.7 * strength + 2 * right[name] / together) / (strength + 200 / together)
        assert each == Reliability(pytest.approx(expected, abs=1e-6), 200)  # type: ignore[arg-type]
    assert not len(count_checks(given, known).num)
    seen = votes({"a": "++", "b": "+-"})
    assert count_checks(seen, {("0", 0, 1): 1}).num.tolist() == [1, 1]  # task 1 alone


def test_votes_that_nobody_checks_change_nothing() -> None:
    """Three labelers of whom one is reversed, and 300 votes of a alone."""
    given = votes({"a": "+" * 30, "b": "+" * 30, "c": "-" * 30})
    alone = [Vote("a", f"alone {task}", 0, 1, 1) for task in range(300)]
    found, plain = shrink_reliabilities([*given, *alone]), shrink_reliabilities(given)
    assert [found[name].accuracy for name in "abc"] == [plain[name].accuracy for name in "abc"]
    assert plain["c"].accuracy < 0.5 < plain["a"].accuracy
    assert found["a"].num_votes == 330


def test_find_unidentified_by_hand() -> None:
    assert find_unidentified(votes({"a": "++", "b": "+-"})) == {"a", "b"}  # two
    assert find_unidentified(votes({"a": "+ ", "b": "++", "c": " +"})) == {
        "a",
        "b",
        "c",
    }  # a chain: nobody checks a and c both
    assert find_unidentified(votes({"a": "+ +", "b": "++ ", "c": " ++"})) == frozenset()  # a circle of three
    four = {"a": "+  +", "b": "++  ", "c": " ++ ", "d": "  ++"}
    assert find_unidentified(votes(four)) == {
        "a",
        "b",
        "c",
        "d",
    }  # a circle of four: a and c on one side, b and d on the other
    assert (
        find_unidentified(votes(four), {("0", 0, 1): 1}) == frozenset()
    )  # a known answer fixes the scale of all of them
    pair_apart = {"a": "+++  ", "b": "++   ", "c": "+ +  ", "d": "   ++", "e": "   +-"}
    assert find_unidentified(votes(pair_apart)) == {"d", "e"}
    assert find_unidentified(votes({"a": "+", "b": "0"})) == {
        "a"
    }  # b has no strict vote, and a nobody to be checked by


def test_shrink_reliabilities_of_an_isolated_couple_are_equal() -> None:
    # r is surely reversed among a, b, c; d and e judge tasks of their own and disagree on half of them.
    table = {name: row + " " * 12 for name, row in REVERSED.items()}
    table |= {"d": " " * 12 + "+" * 12, "e": " " * 12 + "++++++------"}
    found = consensus_of(judged(table))
    assert [len(each.unresolved) for each in found[12:]] == [0] * 6 + [1] * 6
    weights = USUAL.weights(judged(table))
    assert weights["d"] == weights["e"] > 0
    assert weights["r"] == 0.0


def test_majority_reading_keeps_weights_of_1() -> None:
    assert Reading(consensus="majority").weights(judged(REVERSED)) == dict.fromkeys("abcr", 1.0)


def test_standing_of_unidentified_labelers() -> None:
    assert [standing(p, 60, 200, unidentified=True) for p in (0.1, 0.5, 0.8)] == [UNTOLD] * 3
    assert standing(0.1, 59, 200, unidentified=True) == TOO_FEW
    assert standing(0.8, 60, 200) == IN_LINE


def test_least_reliable_first_orders_equals_by_unshrunk_estimate() -> None:
    # Nothing is sure yet, so all are believed equal, but d differs from the others on 2 tasks of 3.
    table = {"a": "+++", "b": "+++", "c": "+++", "d": "+--"}
    assert estimate_prior(votes(table)).strength == inf
    assert USUAL.least_reliable_first(judged(table))[0] == "d"
    assert USUAL.least_reliable_first(judged({"b": "++++", "a": "+---"})) == ["a", "b"]  # two: by name alone


def test_prior_without_votes_is_the_default() -> None:
    assert Prior() == Prior(0.7, inf, 1.0, frozenset())


def test_reading_odds_by_reliability_and_by_majority() -> None:
    weighed = USUAL.odds(judged(REVERSED))
    assert weighed == USUAL.reliabilities(judged(REVERSED))
    assert weighed["r"].accuracy < weighed["a"].accuracy
    even = Reading(consensus="majority").odds(judged(REVERSED))
    mean = sum(weighed[name].accuracy for name in "abcr") / 4
    assert {name: each.accuracy for name, each in even.items()} == pytest.approx(dict.fromkeys("abcr", mean))
    assert {name: each.num_votes for name, each in even.items()} == {n: each.num_votes for n, each in weighed.items()}
    assert Reading(consensus="majority").odds([]) == {}
