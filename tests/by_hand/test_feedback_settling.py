"""What is settled, what is open, and what an adjudicator's word changes; each case by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from preflab.feedback.consensus import Consensus, consensus_of, counted, decisions, task_consensus
from preflab.feedback.pair_votes import Vote
from preflab.feedback.reading import USUAL, Reading
from preflab.feedback.settling import vote_sums
from preflab.records import Answer, Judgment, LikertAnswer, PairOutcome, RankingAnswer, SideBySideAnswer

Ranks = tuple[int | None, ...]


def judged(labeler: str, answer: Answer | Ranks, num: int = 0, **other: Any) -> Judgment:
    answer = RankingAnswer(answer) if isinstance(answer, tuple) else answer
    num = num or len(answer.ranks) if isinstance(answer, RankingAnswer) else num
    given = {"task_id": "t", "revision": 1, "labeler_kind": "person", "polarity": 1} | other
    return Judgment(
        id=f"{given['task_id']}/{labeler}/{given['revision']}", campaign_id="c", prompt_id="p",
        completion_ids=tuple("abcdefghi"[:num]), shown_order=tuple(range(num)), question="?", answer=answer,
        labeler_id=labeler, **given,
    )  # fmt: skip


def consensus(rankings: Sequence[Ranks], weights: Sequence[float] | None = None, **other: Any) -> Consensus:
    names = [f"l{i}" for i in range(len(rankings))]
    judgments = [judged(name, ranks) for name, ranks in zip(names, rankings, strict=True)]
    return task_consensus(judgments, dict(zip(names, weights or [1.0] * len(names), strict=True)), **other)


def states(found: Consensus) -> dict[tuple[int, int], str]:
    return {(pair.outcome.first, pair.outcome.second): pair.state for pair in found.pairs}


CIRCLE = [(1, 2, 3), (3, 1, 2), (2, 3, 1)]  # abc, bca, cab


def test_settle_leaves_an_even_cycle_open() -> None:
    found = consensus(CIRCLE)
    # ab: abc and cab for, bca against: margin 1. Three best orders, and they differ on every pair.
    assert found.num_orders == 3
    assert found.unresolved == ((0, 1), (0, 2), (1, 2))
    assert found.preference.ranks == (1, 1, 1)
    assert found.preference.chosen_rejected() == []
    assert [pair.outcome.margin for pair in found.pairs] == [1, -1, 1]  # the votes stay on record


def test_settle_leaves_a_margin_against_the_order_open() -> None:
    # Weights 3, 2, 2 on abc, bca, cab: a over b by 3 − 2 + 2, b over c by 3 + 2 − 2, c over a by −3 + 2 + 2 = 1.
    # abc scores 3 + 3 − 1 = 5, bca and cab 1: the order is abc, and (a, c) goes the other way.
    found = consensus(CIRCLE, [3.0, 2.0, 2.0])
    assert found.num_orders == 1
    assert states(found) == {(0, 1): "settled", (0, 2): "open", (1, 2): "settled"}
    assert found.preference.ranks == (1, 2, 3)
    assert found.preference.chosen_rejected() == [(0, 1, 0.5), (1, 2, 0.5)]


def test_settle_even_split_is_open_and_majority_tie_is_tied() -> None:
    assert states(consensus([(1, 2), (2, 1)])) == {(0, 1): "open"}
    assert states(consensus([(1, 2), (2, 1), (1, 1)])) == {(0, 1): "open"}
    assert states(consensus([(1, 1), (1, 1), (1, 1)])) == {(0, 1): "tied"}
    # One each way and three ties: more than half calls it a tie.
    assert states(consensus([(1, 2), (2, 1), (1, 1), (1, 1), (1, 1)])) == {(0, 1): "tied"}
    # Two each way would need more than four ties.
    assert states(consensus([(1, 2), (2, 1), (1, 1), (1, 1)])) == {(0, 1): "open"}


def test_settle_even_split_decided_by_other_pairs_is_implied() -> None:
    found = consensus([(1, 2, 3), (1, 2, 3), (2, 3, 1), (3, 1, 2)])
    # abc twice, cab, bca. ab 3 − 1 = 2, bc 3 − 1 = 2, ac 2 − 2 = 0. abc alone scores 4: a over c, said by no vote.
    assert states(found) == {(0, 1): "settled", (0, 2): "implied", (1, 2): "settled"}
    assert found.preference.ranks == (1, 2, 3)
    assert found.preference.chosen_rejected() == [(0, 1, 0.5), (1, 2, 0.5)]


def test_settle_without_weights_leaves_all_open() -> None:
    found = consensus([(1, 2)], [0.0])
    assert found.unresolved == ((0, 1),)
    assert found.preference.ranks == (1, 1)


def test_settle_ignores_pairs_without_votes() -> None:
    best = judged("ann", SideBySideAnswer(None, best=1), num=4)
    found = task_consensus([best], {"ann": 1.0})
    assert states(found) == {(0, 1): "settled", (1, 2): "settled", (1, 3): "settled"}
    assert found.preference.ranks == (2, 1, 2, 2)
    assert found.unresolved == ()


def decision(answer: Answer | Ranks, num: int = 0, **other: Any) -> Judgment:
    return judged("lead", answer, num, decides=True, **other)


def test_decide_changes_only_open_pairs() -> None:
    # b and c are open; the adjudicator turns everything round, and only b and c listen.
    split = [(1, 2, 3), (1, 3, 2)]
    assert states(consensus(split)) == {(0, 1): "settled", (0, 2): "settled", (1, 2): "open"}
    found = consensus(split, decision=decision((3, 2, 1)))
    assert states(found) == {(0, 1): "settled", (0, 2): "settled", (1, 2): "decided"}
    assert found.preference.ranks == (1, 3, 2)
    assert sorted(found.preference.chosen_rejected()) == [(0, 1, 1 / 3), (0, 2, 1 / 3), (2, 1, 1 / 3)]
    assert found.unresolved == ()
    assert found.num_open == 1
    assert "t/lead/1" in found.preference.judgment_ids


def test_decision_that_calls_one_an_f_leaves_no_vote() -> None:
    found = consensus([(1, 2), (2, 1)], decision=decision((1, None)))
    assert states(found) == {(0, 1): "closed"}
    assert found.preference.pairs == (PairOutcome(0, 1, 0, 0, 0, 0),)


def test_decided_pair_holds_the_adjudicators_vote_alone() -> None:
    split = [(1, 2), (2, 1)]
    assert consensus(split, decision=decision((2, 1))).preference.pairs == (PairOutcome(0, 1, 0, 1, 0, 1),)
    assert consensus(split, decision=decision((1, 2))).preference.pairs == (PairOutcome(0, 1, 1, 0, 0, 1),)
    assert consensus(split, decision=decision((1, 1))).preference.pairs == (PairOutcome(0, 1, 0, 0, 1, 0),)


def test_sides_a_hundredth_apart_are_not_even() -> None:
    votes = [Vote("ann", "t", 0, 1, 1), Vote("bob", "t", 0, 2, 1)]
    assert vote_sums(votes, {"ann": 0.01, "bob": 0.0099}, [False] * 3) == [
        PairOutcome(0, 1, 0.01, 0, 0, 0), PairOutcome(0, 2, 0.00495, 0.00495, 0, 0),
    ]  # fmt: skip


def test_decide_without_open_pairs_changes_nothing() -> None:
    plain = consensus([(1, 2), (1, 2), (2, 1)])
    assert consensus([(1, 2), (1, 2), (2, 1)], decision=decision((2, 1))) == plain


def test_decide_breaks_a_cycle() -> None:
    found = consensus(CIRCLE, decision=decision((2, 1, 3)))
    assert set(states(found).values()) == {"decided"}
    assert found.preference.ranks == (2, 1, 3)


def test_decide_tie_or_f_closes_the_pair() -> None:
    for ranks in ((1, 1), (None, 1)):
        found = consensus([(1, 2), (2, 1)], decision=decision(ranks))
        assert states(found) == {(0, 1): "closed"}
        assert found.unresolved == ()
        assert found.preference.ranks == (1, 1)
        assert found.preference.chosen_rejected() == []


def test_decide_leaves_unanswered_pairs_open() -> None:
    found = consensus(CIRCLE, decision=decision(SideBySideAnswer(None, best=0), num=3))
    assert states(found) == {(0, 1): "decided", (0, 2): "decided", (1, 2): "open"}
    assert found.unresolved == ((1, 2),)
    assert found.preference.ranks == (1, 2, 2)


def test_decisions_are_not_labels_and_the_latest_counts() -> None:
    labels = [judged("ann", (1, 2)), judged("bob", (2, 1))]
    first = decision((1, 2), created_at="2026-01-01T10:00:00+00:00")
    second = decision((2, 1), created_at="2026-01-01T11:00:00+00:00", revision=2)
    everything = [second, *labels, first]
    assert counted(everything) == labels
    assert decisions(everything) == {"t": second}
    assert [found.preference.ranks for found in consensus_of(everything)] == [(2, 1)]


def test_consensus_inverts_a_confirmed_reversal() -> None:
    judgments = [
        judged(name, (1, 2) if name in ("ann", "bob", "cid") else (2, 1), task_id=f"{task}")
        for task in range(12)
        for name in ("ann", "bob", "cid", "rev")
    ]
    judgments.append(judged("rev", (2, 1), task_id="alone"))
    turned = Reading(confirmed_reversed=frozenset({"rev"}))
    assert USUAL.weights(judgments)["rev"] == 0.0
    assert turned.weights(judgments)["rev"] == pytest.approx(1.0, abs=0.01)
    alone = consensus_of(judgments)[-1]
    assert (alone.preference.ranks, alone.unresolved) == ((1, 1), ((0, 1),))
    assert consensus_of(judgments, turned)[-1].preference.ranks == (1, 2)


def test_consensus_by_each_likert_criterion() -> None:
    judgments = [
        judged("ann", LikertAnswer({"helpful": (5, 1), "honest": (1, 5)}), num=2),
        judged("bob", LikertAnswer({"helpful": (4, 3), "honest": (2, 2)}), num=2),
    ]
    ranks = {
        name: consensus_of(judgments, Reading(criterion=name))[0].preference.ranks for name in ("helpful", "honest")
    }
    assert ranks == {"helpful": (1, 2), "honest": (2, 1)}


@pytest.mark.parametrize("num", range(2, 10))
def test_consensus_with_different_k_per_task(num: int) -> None:
    judgments = [
        judged(name, tuple(range(k, 0, -1)), task_id=f"t{k}") for k in (2, num) for name in ("ann", "bob", "cid")
    ]
    for found in consensus_of(judgments):
        k = len(found.preference.completion_ids)
        assert found.preference.ranks == tuple(range(k, 0, -1))
        assert len(found.preference.chosen_rejected()) == k * (k - 1) // 2
        assert sum(pair.weight for pair in found.preference.pairs) == pytest.approx(1.0)


def test_vote_sums_by_hand() -> None:
    # Ann for, bob against, cid and dan tied on (0, 1); completion 2 is an F, so (0, 2) is left out. A pair weighs
    # nothing before it is settled.
    votes = [
        Vote("ann", "t", 0, 1, 1),
        Vote("bob", "t", 0, 1, -1),
        Vote("cid", "t", 0, 1, 0),
        Vote("dan", "t", 0, 1, 0),
    ]
    weights = {"ann": 4.0, "bob": 2.0, "cid": 1.0, "dan": 0.5}
    outcomes = vote_sums([*votes, Vote("ann", "t", 0, 2, 1)], weights, (False, False, True))
    assert outcomes == [PairOutcome(0, 1, 4.0, 2.0, 1.5, weight=0.0)]
    assert vote_sums([Vote("ann", "t", 2, 3, 1)], weights, (False, False, True, False)) == []


def test_vote_sums_treat_tiny_differences_as_even() -> None:
    # One against one at 1 and 0.9999 is an even split; at 1 and 0.98 it is not, nor are 51 against 50 at equal weight.
    def sums(weights: dict[str, float]) -> tuple[float, float]:
        votes = [Vote(name, "t", 0, 1, 1 if name.startswith("a") else -1) for name in weights]
        (found,) = vote_sums(votes, weights, (False, False))
        return found.num_for, found.num_against

    assert sums({"a": 1.0, "b": 0.9999}) == (0.99995, 0.99995)
    assert sums({"a": 1.0, "b": 0.98}) == (1.0, 0.98)
    many = {f"a{n}": 1.0 for n in range(51)} | {f"b{n}": 1.0 for n in range(50)}
    assert sums(many) == (51.0, 50.0)
