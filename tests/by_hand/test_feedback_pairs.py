"""Rankings and other answers to pairs, each case written out or counted by enumeration."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.feedback.pair_votes import Vote, failed, pair_votes
from preflab.records import Answer, Judgment, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer


def judgment(answer: Answer, num: int, **other: Any) -> Judgment:
    given = {"polarity": 1, "labeler_id": "ann"} | other
    return Judgment(
        id="j", campaign_id="c", task_id="t", prompt_id="p", completion_ids=tuple("abcdefghi"[:num]),
        shown_order=tuple(range(num)), question="?", answer=answer, labeler_kind="person", **given,
    )  # fmt: skip


def outcomes(answer: Answer, num: int, **other: Any) -> dict[tuple[int, int], int]:
    criterion = other.pop("criterion", None)
    votes = pair_votes(judgment(answer, num, **other), criterion)
    assert all(vote.first < vote.second for vote in votes)
    return {(vote.first, vote.second): vote.outcome for vote in votes}


def test_pair_votes_of_a_ranking_keep_ties_and_drop_f() -> None:
    answer = RankingAnswer((2, 1, 2, None))
    assert outcomes(answer, 4) == {(0, 1): -1, (0, 2): 0, (1, 2): 1}
    assert failed(judgment(answer, 4)) == (False, False, False, True)


def test_pair_votes_are_inverted_by_negative_polarity_but_f_is_not() -> None:
    answer = RankingAnswer((2, 1, 2, None))
    assert outcomes(answer, 4, polarity=-1) == {(0, 1): 1, (0, 2): 0, (1, 2): -1}
    assert failed(judgment(answer, 4, polarity=-1)) == (False, False, False, True)


@pytest.mark.parametrize(("choice", "outcome"), [("first", 1), ("second", -1), ("equal", 0)])
def test_pair_votes_of_side_by_side(choice: Any, outcome: int) -> None:
    assert outcomes(SideBySideAnswer(choice), 2) == {(0, 1): outcome}
    assert outcomes(SideBySideAnswer(choice), 2, polarity=-1) == {(0, 1): -outcome}


def test_pair_votes_of_best_of_four() -> None:
    assert outcomes(SideBySideAnswer(None, best=2), 4) == {(0, 2): -1, (1, 2): -1, (2, 3): 1}
    assert outcomes(SideBySideAnswer(None), 4) == {}


def test_pair_votes_of_likert_by_criterion() -> None:
    answer = LikertAnswer({"helpful": (4, 2, None), "honest": (3, 3, 5)})
    assert outcomes(answer, 3, criterion="helpful") == {(0, 1): 1}
    assert outcomes(answer, 3, criterion="honest") == {(0, 1): 0, (0, 2): -1, (1, 2): -1}
    assert outcomes(LikertAnswer({"helpful": (1, 5)}), 2) == {(0, 1): -1}


def test_pair_votes_of_thumbs() -> None:
    answer = ThumbsAnswer((True, False, None, True))
    assert outcomes(answer, 4) == {(0, 1): 1, (0, 3): 0, (1, 3): -1}
    assert outcomes(answer, 4, polarity=-1) == {(0, 1): -1, (0, 3): 0, (1, 3): 1}


def test_pair_votes_name_labeler_and_task() -> None:
    assert pair_votes(judgment(RankingAnswer((1, 2)), 2)) == [Vote("ann", "t", 0, 1, 1)]


@pytest.mark.parametrize(
    ("answer", "num"),
    [
        (RankingAnswer((1, 2)), 3),
        (RankingAnswer((0, 1)), 2),
        (SideBySideAnswer("first"), 3),
        (SideBySideAnswer(None, best=3), 3),
        (LikertAnswer({"helpful": (1,)}), 2),
        (LikertAnswer({"helpful": (1, 2), "honest": (1, 2)}), 2),
        (ThumbsAnswer((True,)), 2),
    ],
)
def test_pair_votes_refuse_an_answer_of_wrong_length(answer: Answer, num: int) -> None:
    with pytest.raises(PreflabError, match="judgment j"):
        pair_votes(judgment(answer, num))
