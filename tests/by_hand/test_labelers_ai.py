"""AI judges by hand: what can be read, what both orders say, ranks, points on people's scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from preflab.labelers.ai import JudgeAnswer, PairAsked, RatingAsked, judge_pairs, judge_ranking, judge_ratings
from preflab.labelers.calibration import calibrate
from preflab.labelers.questions import (
    VERSION,
    combine_orders,
    pair_question,
    rank_by_choices,
    rating_question,
    read_reasons,
    read_score,
    read_verdict,
)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("A is kinder.\nVERDICT: A", "first"),
        ("reasons\n\n**VERDICT: B**\n", "second"),
        ("VERDICT: TIE.", "equal"),
        ("VERDICT: A\nor maybe B", None),
        ("The verdict is A", None),
        ("VERDICT: AB", None),
        ("VERDICT: C", None),
        ("verdict: a", None),
        ("", None),
    ],
)
def test_a_verdict_is_exactly_the_last_line(text: str, choice: str | None) -> None:
    assert read_verdict(text) == choice


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("good\nSCORE: 4", 4),
        ("SCORE: 5/5", 5),
        ("SCORE: 10", None),
        ("SCORE: 0", None),
        ("SCORE: 4.5", None),
        ("4", None),
    ],
)
def test_a_score_is_a_whole_number_from_1_to_5(text: str, score: int | None) -> None:
    assert read_score(text) == score


def test_reasons_stand_before_the_last_line() -> None:
    assert read_reasons("one\ntwo\nVERDICT: A") == "one\ntwo"
    assert read_reasons("VERDICT: A") == ""


def test_braces_of_a_completion_stay_as_they_are() -> None:
    asked = pair_question("Which is better?", "say {prompt}", "{second}", "b")[1]["content"]
    assert "say {prompt}" in asked
    assert "[Answer A]\n{second}\n" in asked
    assert "5 means kind." in rating_question("tone", "p", "c", ("rude", "kind"))[1]["content"]
    assert len(VERSION) == 8


def test_what_depends_on_the_order_is_a_tie() -> None:
    # Asked back, the same completion has the other name.
    assert combine_orders("first", "second") == "first"
    assert combine_orders("second", "first") == "second"
    assert combine_orders("first", "first") == "equal"
    assert combine_orders("equal", "second") == "equal"
    assert combine_orders("equal", "equal") == "equal"


def test_ranks_are_wins_less_losses() -> None:
    # c beats both, a and b are equal: points 2, −1, −1.
    assert rank_by_choices(3, [(0, 1, "equal"), (0, 2, "second"), (1, 2, "second")]) == (2, 2, 1)
    # A circle: nobody is ahead.
    assert rank_by_choices(3, [(0, 1, "first"), (1, 2, "first"), (0, 2, "second")]) == (1, 1, 1)


class Longest:
    """Prefers the longer one, or with `always_first` whatever it sees first; cannot read what contains `?`."""

    def __init__(self, *, always_first: bool = False) -> None:
        self.always_first = always_first
        self.asked: list[PairAsked | RatingAsked] = []

    def compare(self, asked: Sequence[PairAsked], on_done: Callable[[int], None] | None = None) -> list[JudgeAnswer]:
        self.asked += asked
        return [self._said(one) for one in asked]

    def rate(self, asked: Sequence[RatingAsked], on_done: Callable[[int], None] | None = None) -> list[JudgeAnswer]:
        self.asked += asked
        return [
            JudgeAnswer(score=None if "?" in a.completion else float(len(a.completion)), reasons="so long")
            for a in asked
        ]

    def _said(self, one: PairAsked) -> JudgeAnswer:
        if "?" in one.first + one.second:
            return JudgeAnswer()
        wins = self.always_first or len(one.first) > len(one.second)
        return JudgeAnswer(choice="first" if wins else "second", reasons=f"{one.first} is longer")


def test_every_pair_is_asked_in_both_orders() -> None:
    judge = Longest()
    found = judge_pairs(judge, "Which?", "p", ["aa", "bbb", "c"])
    assert [(i, j, choice) for i, j, choice, _ in found] == [(0, 1, "second"), (0, 2, "first"), (1, 2, "first")]
    shown = [(a.first, a.second) for a in judge.asked if isinstance(a, PairAsked)]
    assert sorted(shown) == sorted((a, b) for a in ("aa", "bbb", "c") for b in ("aa", "bbb", "c") if a != b)
    assert judge_ranking(judge, "Which?", "p", ["aa", "bbb", "c"]) is not None
    assert judge_ranking(judge, "Which?", "p", ["aa", "bbb", "c"])[0] == (2, 1, 3)  # type: ignore[index]


def test_a_judge_that_likes_the_first_one_says_nothing() -> None:
    ranking = judge_ranking(Longest(always_first=True), "Which?", "p", ["aa", "bbb", "c"])
    assert ranking is not None
    assert ranking[0] == (1, 1, 1)


def test_nothing_is_made_up_for_what_cannot_be_read() -> None:
    assert judge_ranking(Longest(), "Which?", "p", ["aa", "?"]) is None
    scores, why = judge_ratings(Longest(), ["tone", "facts"], "p", ["aa", "?"])
    assert scores == {"tone": (2.0, None), "facts": (2.0, None)}
    assert why.startswith("tone: so long")


def test_points_on_peoples_scale() -> None:
    # People give 1 + ½ of the AI's points: slope ½, intercept 1, nothing left.
    ai = {f"c{i}": float(1 + i % 5) for i in range(10)} | {"alone": 3.0}
    people = {f"c{i}": 1 + ai[f"c{i}"] / 2 for i in range(10)} | {"other": 1.0}
    line = calibrate(ai, people)
    assert (line.intercept, line.slope, line.num) == (pytest.approx(1.0), pytest.approx(0.5), 10)
    assert (line.correlation, line.error_after) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9))
    # Differences 1 + x/2 − x = 1 − x/2 for x = 1 … 5: squares ¼, 0, ¼, 1, 9/4; mean 0.75
    assert line.error_before == pytest.approx(0.75**0.5)
    assert line.fitted
    assert line(4.0) == pytest.approx(3.0)


def test_too_little_to_fit_leaves_points_alone() -> None:
    few = calibrate({f"c{i}": float(i) for i in range(9)}, {f"c{i}": 2.0 * i for i in range(9)})
    same = calibrate({f"c{i}": 3.0 for i in range(20)}, {f"c{i}": float(i % 5) for i in range(20)})
    for line in (few, same, calibrate({}, {})):
        assert not line.fitted
        assert line(4.0) == 4.0
