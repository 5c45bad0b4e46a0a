"""Every answer of every way to pair outcomes, listed one by one: ties, F, K = 2 to 9, equal texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations, product
from math import factorial

import pytest

from preflab.errors import PreflabError
from preflab.feedback.consensus import task_consensus
from preflab.feedback.pair_votes import all_votes, failed, pair_votes
from preflab.feedback.reading import USUAL
from preflab.records import Answer, Judgment, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer

Outcomes = dict[tuple[int, int], int]


def judged(answer: Answer, num: int, labeler: str = "ann", polarity: int = 1) -> Judgment:
    return Judgment(
        id=f"j-{labeler}", campaign_id="c", task_id="t", prompt_id="p", completion_ids=tuple("abcdefghi"[:num]),
        shown_order=tuple(range(num)), question="?", polarity=polarity, answer=answer, labeler_id=labeler,
        labeler_kind="person",
    )  # fmt: skip


def outcomes(answer: Answer, num: int, polarity: int = 1) -> Outcomes:
    votes = pair_votes(judged(answer, num, polarity=polarity))
    found = {(vote.first, vote.second): vote.outcome for vote in votes}
    assert len(found) == len(votes)
    assert list(found) == sorted(found)
    return found


def marks_of(num: int) -> Iterator[tuple[bool, ...]]:
    yield from product((False, True), repeat=num)


def expected_of_levels(levels: Sequence[int | None]) -> Outcomes:
    """Higher is better; None takes no part. Written out case by case."""
    found: Outcomes = {}
    for i, j in combinations(range(len(levels)), 2):
        a, b = levels[i], levels[j]
        if a is None or b is None:
            continue
        if a > b:
            found[i, j] = 1
        elif a < b:
            found[i, j] = -1
        else:
            found[i, j] = 0
    return found


@pytest.mark.parametrize("num", [2, 3, 4])
def test_every_ranking_with_ties_and_f(num: int) -> None:
    for ranks in product([None, *range(1, num + 1)], repeat=num):
        levels = [None if rank is None else num - rank for rank in ranks]
        expected = expected_of_levels(levels)
        answer = RankingAnswer(ranks)
        assert outcomes(answer, num) == expected
        assert outcomes(answer, num, polarity=-1) == {pair: -outcome for pair, outcome in expected.items()}
        assert failed(judged(answer, num)) == tuple(rank is None for rank in ranks)


@pytest.mark.parametrize("num", range(2, 7))
def test_every_strict_ranking_gives_all_pairs_and_no_ranking_the_same_ones(num: int) -> None:
    votes = [outcomes(RankingAnswer(ranks), num) for ranks in permutations(range(1, num + 1))]
    assert len({tuple(sorted(each.items())) for each in votes}) == factorial(num)
    assert {len(each) for each in votes} == {num * (num - 1) // 2}


@pytest.mark.parametrize("num", range(2, 10))
def test_every_place_of_an_f_and_of_a_tie_up_to_nine(num: int) -> None:
    order = list(range(1, num + 1))
    for place in range(num):
        ranks: list[int | None] = [*order[:place], None, *order[place + 1 :]]
        pairs = outcomes(RankingAnswer(tuple(ranks)), num)
        assert len(pairs) == (num - 1) * (num - 2) // 2
        assert not any(place in pair for pair in pairs)
    for first, second in combinations(range(num), 2):
        tied = list(order)
        tied[second] = tied[first]
        expected = [-1 if a < b else 1 if a > b else 0 for a, b in combinations([-rank for rank in tied], 2)]
        assert list(outcomes(RankingAnswer(tuple(tied)), num).values()) == expected
        assert expected.count(0) == 1


def test_every_side_by_side_answer() -> None:
    for choice, outcome in (("first", 1), ("second", -1), ("equal", 0)):
        for marks in [(), *marks_of(2)]:
            answer = SideBySideAnswer(choice, failed=marks)  # type: ignore[arg-type]
            expected = {} if any(marks) else {(0, 1): outcome}
            assert outcomes(answer, 2) == expected
            assert outcomes(answer, 2, polarity=-1) == dict.fromkeys(expected, -outcome)
            assert failed(judged(answer, 2)) == (marks or (False, False))


@pytest.mark.parametrize("num", range(2, 10))
def test_every_best_of_several(num: int) -> None:
    for best in range(num):
        found = outcomes(SideBySideAnswer(None, best=best), num)
        assert found == {(min(best, i), max(best, i)): 1 if best < i else -1 for i in range(num) if i != best}
        assert len(found) == num - 1
    assert outcomes(SideBySideAnswer("equal"), num) == dict.fromkeys(combinations(range(num), 2), 0)
    assert outcomes(SideBySideAnswer(None), num) == {}


def test_the_best_of_several_with_f() -> None:
    for best in range(4):
        for marks in marks_of(4):
            answer = SideBySideAnswer(None, best=best, failed=marks)
            if marks[best]:
                with pytest.raises(PreflabError, match="marked F"):
                    pair_votes(judged(answer, 4))
                continue
            left = [i for i in range(4) if i != best and not marks[i]]
            assert outcomes(answer, 4) == {(min(best, i), max(best, i)): 1 if best < i else -1 for i in left}
    for marks in marks_of(4):
        left = [i for i in range(4) if not marks[i]]
        assert outcomes(SideBySideAnswer("equal", failed=marks), 4) == dict.fromkeys(combinations(left, 2), 0)


def test_every_likert_answer() -> None:
    for scores in product((1, 2, 5, None), repeat=3):
        for marks in [(), *marks_of(3)]:
            levels = [None if marks and marks[i] else score for i, score in enumerate(scores)]
            answer = LikertAnswer({"helpful": scores}, failed=marks)
            assert outcomes(answer, 3) == expected_of_levels(levels)


def test_every_thumbs_answer() -> None:
    for up in product((True, False, None), repeat=3):
        for marks in [(), *marks_of(3)]:
            levels = [None if value is None or (marks and marks[i]) else int(value) for i, value in enumerate(up)]
            assert outcomes(ThumbsAnswer(up, failed=marks), 3) == expected_of_levels(levels)


def test_score_then_rank_goes_by_the_ranks() -> None:
    for ranks in product((1, 2, None), repeat=2):
        for scores in product((1, 7, None), repeat=2):
            answer = RankingAnswer(ranks, scores={"overall": scores})
            assert outcomes(answer, 2) == outcomes(RankingAnswer(ranks), 2)
    found = task_consensus([judged(RankingAnswer((1, None), scores={"overall": (6, None)}), 2)], {"ann": 1.0})
    assert found.preference.scores == {"overall": (6.0, None)}


@pytest.mark.parametrize(
    "answer",
    [
        SideBySideAnswer("first", failed=(True,)),
        LikertAnswer({"helpful": (1, 2)}, failed=(True, False, False)),
        ThumbsAnswer((True, None), failed=(False,)),
    ],
)
def test_marks_that_do_not_fit_are_refused(answer: Answer) -> None:
    with pytest.raises(PreflabError, match="fail marks"):
        pair_votes(judged(answer, 2))


def test_a_confirmed_reversal_turns_votes_and_no_ties() -> None:
    judgments = [judged(RankingAnswer((1, 2, 2)), 3, name) for name in ("ann", "rev")]
    votes = all_votes(judgments, confirmed_reversed={"rev"})
    assert [vote.outcome for vote in votes] == [1, 1, 0, -1, -1, 0]


@pytest.mark.parametrize("num_labelers", range(1, 6))
def test_f_drops_a_completion_from_half_of_the_labelers_on(num_labelers: int) -> None:
    for marks in marks_of(num_labelers):
        judgments = [judged(RankingAnswer((None if mark else 1, 2)), 2, f"l{i}") for i, mark in enumerate(marks)]
        assert USUAL.failed(judgments) == [2 * sum(marks) >= num_labelers, False]


def ways(mark: bool) -> list[Answer]:
    """The first of two marked F, or not, in every way of judging."""
    return [
        RankingAnswer((None if mark else 2, 1)),
        SideBySideAnswer(None if mark else "second", failed=(mark, False)),
        SideBySideAnswer(None, best=1, failed=(mark, False)),
        LikertAnswer({"helpful": (1, 4)}, failed=(mark, False)),
        ThumbsAnswer((False, True), failed=(mark, False)),
        RankingAnswer((None if mark else 2, 1), scores={"overall": (None if mark else 1, 5)}),
    ]


@pytest.mark.parametrize("way", range(6))
def test_half_of_the_labelers_drop_a_completion_in_every_way(way: int) -> None:
    for marks, dropped in (((True, False, False), False), ((True, True, False), True), ((True, False), True)):
        judgments = [judged(ways(mark)[way], 2, f"l{i}") for i, mark in enumerate(marks)]
        found = task_consensus(judgments, {f"l{i}": 1.0 for i in range(len(marks))}).preference
        assert found.ranks == ((None, 1) if dropped else (2, 1))
        assert found.chosen_rejected() == ([] if dropped else [(1, 0, 1.0)])


@pytest.mark.parametrize("num", range(2, 10))
def test_duplicates_of_one_text_make_no_pair(num: int) -> None:
    texts = {letter: "same" if place < 2 else letter for place, letter in enumerate("abcdefghi"[:num])}
    found = task_consensus([judged(RankingAnswer(tuple(range(1, num + 1))), num)], {"ann": 1.0}, texts=texts)
    pairs = [(i, j) for i, j, _ in found.preference.chosen_rejected()]
    assert pairs == [pair for pair in combinations(range(num), 2) if pair != (0, 1)]
    assert found.unresolved == ()
    assert found.preference.ranks[:2] == (1, 1)
