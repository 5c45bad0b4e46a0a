"""One task's judgments to one preference, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest

from preflab.feedback.consensus import counted, preferences_of, task_consensus
from preflab.feedback.order import copeland, copeland_order, ranks_of
from preflab.feedback.reading import Reading
from preflab.records import Judgment, LikertAnswer, PairOutcome, RankingAnswer, ThumbsAnswer

METHODS: tuple[Literal["one_coin_em", "majority"], ...] = ("one_coin_em", "majority")
Ranks = tuple[int | None, ...]


def ranking(labeler: str, ranks: Ranks, **other: Any) -> Judgment:
    given = {"task_id": "t", "revision": 1, "answer": RankingAnswer(ranks), "labeler_kind": "person"} | other
    num = len(ranks)
    return Judgment(
        id=f"{given['task_id']}/{labeler}/{given['revision']}", campaign_id="c", prompt_id="p",
        completion_ids=tuple("abcdefghi"[:num]), shown_order=tuple(range(num)), question="?", polarity=1,
        labeler_id=labeler, **given,
    )  # fmt: skip


def preference(rankings: Sequence[tuple[str, Ranks]], weights: dict[str, float] | None = None, **other: Any) -> Any:
    judgments = [ranking(name, ranks) for name, ranks in rankings]
    weights = weights or {name: 1.0 for name, _ in rankings}
    return task_consensus(judgments, weights, Reading(fail_share=other.pop("share", 0.5)), **other).preference


def test_a_single_ranking_is_its_own_consensus() -> None:
    found = preference([("ann", (2, 1, 3))])
    assert found.ranks == (2, 1, 3)
    assert found.pairs == (
        PairOutcome(0, 1, 0, 1, 0, 1 / 3), PairOutcome(0, 2, 1, 0, 0, 1 / 3), PairOutcome(1, 2, 1, 0, 0, 1 / 3),
    )  # fmt: skip
    assert sorted((i, j) for i, j, _ in found.chosen_rejected()) == [(0, 2), (1, 0), (1, 2)]
    assert found.judgment_ids == ("t/ann/1",)
    assert found.source == "human"


def test_weights_decide_against_numbers() -> None:
    found = preference([("ann", (1, 2)), ("bob", (2, 1)), ("cid", (2, 1))], {"ann": 1.0, "bob": 0.4, "cid": 0.5})
    assert found.pairs == (PairOutcome(0, 1, 1.0, 0.9, 0, 1.0),)
    assert found.ranks == (1, 2)


def test_no_margin_no_pair() -> None:
    found = preference([("ann", (1, 2, 3)), ("bob", (2, 1, 3))])
    assert found.pairs == (
        PairOutcome(0, 1, 1, 1, 0, 0.0), PairOutcome(0, 2, 2, 0, 0, 0.5), PairOutcome(1, 2, 2, 0, 0, 0.5),
    )  # fmt: skip
    assert found.ranks == (1, 1, 3)
    assert found.chosen_rejected() == [(0, 2, 0.5), (1, 2, 0.5)]


def test_equal_weights_cancel_exactly() -> None:
    # 0.1 + 0.2 against 0.3 differs from it in floating point; the pair is unresolved all the same.
    found = preference([("ann", (1, 2)), ("bob", (1, 2)), ("cid", (2, 1))], {"ann": 0.1, "bob": 0.2, "cid": 0.3})
    assert found.chosen_rejected() == []
    assert found.ranks == (1, 1)


def test_a_tie_votes_for_nobody() -> None:
    found = preference([("ann", (1, 1)), ("bob", (1, 1)), ("cid", (2, 1))])
    assert found.pairs == (PairOutcome(0, 1, 0, 1, 2, 1.0),)


def test_one_labelers_f_leaves_only_that_labelers_pairs_out() -> None:
    found = preference([("ann", (None, 1, 2)), ("bob", (1, 2, 3)), ("cid", (1, 2, 3))])
    assert found.ranks == (1, 2, 3)
    assert [(p.first, p.second, p.num_for) for p in found.pairs] == [(0, 1, 2), (0, 2, 2), (1, 2, 3)]


def test_half_of_the_labelers_drop_a_completion() -> None:
    half = [("ann", (None, 1, 2)), ("bob", (1, 2, 3))]
    assert preference(half).ranks == (None, 1, 2)
    assert [(p.first, p.second) for p in preference(half).pairs] == [(1, 2)]
    assert preference(half, share=0.6).ranks == (1, 2, 3)


def test_all_f_makes_no_pair_and_stays_on_record() -> None:
    found = preference([("ann", (None, None))])
    assert found.ranks == (None, None)
    assert found.pairs == ()


def test_equal_texts_make_no_pair() -> None:
    found = preference([("ann", (1, 2, 3))], texts={"a": "yes", "b": "yes", "c": "no"})
    assert [(p.first, p.second, p.weight) for p in found.pairs] == [(0, 2, 0.5), (1, 2, 0.5)]
    assert preferences_of([ranking("ann", (1, 2, 3))], texts={"a": "yes", "b": "yes", "c": "no"}) == [found]
    assert found.ranks == (1, 1, 3)


def test_a_cycle_is_a_tie_when_its_margins_are_equal() -> None:
    assert copeland_order(np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])) == [1, 1, 1]
    # Won 1, lost 1 each; sums of margins 2, −1, −1.
    assert copeland_order(np.array([[0, 3, -1], [-3, 0, 2], [1, -2, 0]])) == [1, 2, 2]


def test_copeland_counts_wins_before_margins() -> None:
    """a beats b and c by 1, b beats c by 9: a wins two, b wins one and loses one; the margins of b are the largest."""
    margins = np.array([[0, 1, 1], [-1, 0, 9], [-1, -9, 0]])
    assert copeland_order(margins) == [1, 2, 3]
    assert copeland(margins).above.tolist() == [[False, True, True], [False, False, True], [False, False, False]]
    assert not copeland(np.zeros((2, 2))).above.any()


def test_ranks_follow_circles_of_any_length() -> None:
    """a over b and c, b over c and d, c over d, d over a: from c to b it takes three steps, and all share a rank."""
    above = np.array([[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0]], dtype=bool)
    assert ranks_of(above) == [1, 1, 1, 1]


def test_the_latest_revision_counts_and_surplus_does_not() -> None:
    first, second = ranking("ann", (1, 2)), ranking("ann", (2, 1), revision=2)
    surplus = ranking("bob", (1, 2), surplus=True)
    assert counted([second, first, surplus]) == [second]


def test_majority_and_reliability_differ_where_a_labeler_is_reversed() -> None:
    # Ten tasks where ann, bob and cid agree and rev does not; then one that only ann and two reversed ones judged.
    judgments = []
    for task in range(10):
        for name in ("ann", "bob", "cid"):
            judgments.append(ranking(name, (1, 2), task_id=f"{task}"))
        for name in ("rev", "ver"):
            judgments.append(ranking(name, (2, 1), task_id=f"{task}"))
    judgments += [ranking(n, r, task_id="x") for n, r in {"ann": (1, 2), "rev": (2, 1), "ver": (2, 1)}.items()]
    by_task = {method: preferences_of(judgments, Reading(consensus=method))[-1] for method in METHODS}
    assert by_task["majority"].ranks == (2, 1)
    assert by_task["one_coin_em"].ranks == (1, 2)
    assert by_task["one_coin_em"].pairs[0].num_against == 0.0


def test_mixed_kinds_are_named() -> None:
    judgments = [ranking("ann", (1, 2)), ranking("gpt", (1, 2), labeler_kind="ai")]
    assert task_consensus(judgments, {"ann": 1.0, "gpt": 1.0}).preference.source == "ai+human"


def test_scores_and_thumbs_are_kept() -> None:
    likert = [
        ranking("ann", (1, 1), answer=LikertAnswer({"helpful": (4, None)})),
        ranking("bob", (1, 1), answer=LikertAnswer({"helpful": (1, None)})),
    ]
    assert task_consensus(likert, {"ann": 1.0, "bob": 1.0}).preference.scores == {"helpful": (2.5, None)}
    thumbs = [
        ranking("ann", (1, 1), answer=ThumbsAnswer((True, False))),
        ranking("bob", (1, 1), answer=ThumbsAnswer((False, None))),
    ]
    found = task_consensus(thumbs, {"ann": 1.0, "bob": 1.0}).preference
    assert found.thumbs == pytest.approx((0.5, 0.0))
    assert found.ranks == (1, 2)
