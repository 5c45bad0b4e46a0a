"""What a page may send as an answer, case by case, and how it comes back."""

from __future__ import annotations

from json import loads
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.labelling.checks import answer_json, checked_answer
from preflab.labelling.errors import Invalid
from preflab.labelling.leases import drawn_order
from preflab.labelling.options import CampaignOptions
from preflab.records import Answer, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer
from preflab.store.answers import answer_from_json, answer_to_json, failed_of
from preflab.ways.base import Way
from preflab.ways.registry import NAMES, WAYS

CRITERIA = {"likert": ("kind", "true")}


def options(way: str, **other: Any) -> CampaignOptions:
    return CampaignOptions(name="c", way=way, criteria=CRITERIA.get(way, ()), **other)


RIGHT: list[tuple[str, int, dict[str, Any], Answer]] = [
    ("ranking", 3, {"ranks": [2, 1, 3]}, RankingAnswer((2, 1, 3))),
    ("ranking", 3, {"ranks": [1, 1, "F"]}, RankingAnswer((1, 1, None))),
    ("ranking", 2, {"ranks": ["F", "F"]}, RankingAnswer((None, None))),
    (
        "score_then_rank",
        2,
        {"ranks": [2, 1], "scores": {"overall": [1, 7]}},
        RankingAnswer((2, 1), {"overall": (1, 7)}),
    ),
    (
        "score_then_rank",
        2,
        {"ranks": ["F", 1], "scores": {"overall": [None, 7]}},
        RankingAnswer((None, 1), {"overall": (None, 7)}),
    ),
    ("side_by_side", 2, {"choice": "first"}, SideBySideAnswer("first")),
    ("side_by_side", 2, {"choice": "equal", "failed": [False, False]}, SideBySideAnswer("equal")),
    ("side_by_side", 2, {"choice": "second", "failed": [True, False]}, SideBySideAnswer("second", None, (True, False))),
    ("side_by_side", 2, {"choice": None, "failed": [True, True]}, SideBySideAnswer(None, None, (True, True))),
    ("best_of", 4, {"best": 3}, SideBySideAnswer(None, 3)),
    ("best_of", 3, {"best": None}, SideBySideAnswer("equal")),
    ("best_of", 3, {"best": 0, "failed": [False, True, False]}, SideBySideAnswer(None, 0, (False, True, False))),
    (
        "likert",
        2,
        {"scores": {"kind": [5, 1], "true": [3, 3]}, "failed": []},
        LikertAnswer({"kind": (5, 1), "true": (3, 3)}),
    ),
    (
        "likert",
        2,
        {"scores": {"true": [None, 3], "kind": [None, 1]}, "failed": [True, False]},
        LikertAnswer({"kind": (None, 1), "true": (None, 3)}, (True, False)),
    ),
    ("thumbs", 2, {"up": [True, False]}, ThumbsAnswer((True, False))),
    ("thumbs", 2, {"up": [None, False], "failed": [True, False]}, ThumbsAnswer((None, False), (True, False))),
]


@pytest.mark.parametrize(("way", "num", "json", "answer"), RIGHT)
def test_right_answers_are_typed_and_come_back(way: str, num: int, json: dict[str, Any], answer: Answer) -> None:
    assert checked_answer(options(way), num, json) == answer
    assert checked_answer(options(way), num, answer_json(answer, way)) == answer
    assert answer_from_json(answer_to_json(answer)) == answer


WRONG: list[tuple[str, int, Any, str]] = [
    ("ranking", 3, {}, "ranks"),
    ("ranking", 3, [1, 2, 3], "answer"),
    ("ranking", 3, None, "answer"),
    ("ranking", 3, {"ranks": [1, 2]}, "ranks"),
    ("ranking", 3, {"ranks": "123"}, "ranks"),
    ("ranking", 3, {"ranks": [1, 2, 0]}, r"ranks\[2\]: 0"),
    ("ranking", 3, {"ranks": [1, 2, 4]}, r"ranks\[2\]: 4"),
    ("ranking", 3, {"ranks": [True, 2, 3]}, r"ranks\[0\]: True"),
    ("ranking", 3, {"ranks": [1.0, 2, 3]}, r"ranks\[0\]: 1.0"),
    ("ranking", 3, {"ranks": [1, None, 3]}, r"ranks\[1\]: None"),
    ("ranking", 3, {"ranks": [1, "f", 3]}, r"ranks\[1\]: 'f'"),
    ("ranking", 3, {"ranks": [1, 2, 3], "best": 1}, "unknown field 'best'"),
    ("score_then_rank", 2, {"ranks": [1, 2]}, "scores"),
    ("score_then_rank", 2, {"ranks": [1, 2], "scores": {"overall": [8, 1]}}, r"scores.overall\[0\]: 8"),
    ("score_then_rank", 2, {"ranks": [1, 2], "scores": {"overall": [None, 1]}}, r"scores.overall\[0\]"),
    ("score_then_rank", 2, {"ranks": [1, 2], "scores": {"other": [1, 1]}}, "scores"),
    ("side_by_side", 2, {"choice": "A"}, "choice: 'A'"),
    ("side_by_side", 2, {"choice": None}, "choice"),
    ("side_by_side", 2, {"choice": "first", "failed": [True]}, "failed"),
    ("side_by_side", 2, {"choice": "first", "failed": [1, 0]}, r"failed\[0\]: 1"),
    ("best_of", 3, {}, "best: missing"),
    ("best_of", 3, {"best": 3}, "best: 3"),
    ("best_of", 3, {"best": -1}, "best: -1"),
    ("best_of", 3, {"best": 1, "failed": [False, True, False]}, "marked F"),
    ("likert", 2, {"scores": {"kind": [1, 2]}}, "scores"),
    ("likert", 2, {"scores": {"kind": [1, 2], "true": [1, 6]}}, r"scores.true\[1\]: 6"),
    ("likert", 2, {"scores": {"kind": [1, 2], "true": [1, None]}}, r"scores.true\[1\]: None"),
    ("thumbs", 2, {"up": [True]}, "up"),
    ("thumbs", 2, {"up": [True, 1]}, r"up\[1\]: 1"),
    ("thumbs", 2, {"up": [True, None]}, r"up\[1\]: None"),
]


@pytest.mark.parametrize(("way", "num", "json", "found"), WRONG)
def test_wrong_answers_name_the_field(way: str, num: int, json: Any, found: str) -> None:
    with pytest.raises(Invalid, match=found) as caught:
        checked_answer(options(way), num, json)
    assert caught.value.expected


@pytest.mark.parametrize(
    ("way", "json"),
    [
        ("ranking", {"ranks": [1, "F"]}),
        ("side_by_side", {"choice": "first", "failed": [False, True]}),
        ("thumbs", {"up": [True, None], "failed": [False, True]}),
    ],
)
def test_no_fail_mark_where_the_campaign_has_none(way: str, json: dict[str, Any]) -> None:
    checked_answer(options(way), 2, json)
    with pytest.raises(Invalid, match="marked F"):
        checked_answer(options(way, allow_fail=False), 2, json)


@pytest.mark.parametrize("way", WAYS.values(), ids=NAMES)
def test_the_example_of_every_way_is_an_answer(way: Way[Any]) -> None:
    json = loads(way.example)
    assert json.keys() <= way.fields
    num = len(json.get("ranks", json.get("up", (0, 1))))
    rules = CampaignOptions(name="c", way=way.name, criteria=("helpful",) if way.by_criteria else ())
    assert isinstance(checked_answer(rules, num, json), way.answer)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(Invalid) as caught:
        checked_answer(options("side_by_side"), 2, {"choice": "x" * 10_000})
    assert len(caught.value.found) < 200


def test_fail_marks_of_every_way() -> None:
    assert failed_of(RankingAnswer((1, None))) == [False, True]
    assert failed_of(LikertAnswer({}, (True, False))) == [True, False]
    assert failed_of(ThumbsAnswer((True, False))) is None


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"way": "likert"}, "criteria is empty"),
        ({"criteria": ("a", "a")}, "twice"),
        ({"scale_ends": {"kind": ("bad", "good")}}, "scale_ends"),
        ({"overlap": 0}, "overlap"),
        ({"polarity": 0}, "polarity"),
        ({"gold_share": 0.6}, "gold_share"),
        ({"lease_minutes": 0}, "lease_minutes"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        CampaignOptions(**{"name": "c"} | wrong)


def test_the_order_shown_is_a_permutation_drawn_for_task_and_labeler() -> None:
    first = drawn_order("task-1", "labeler-1", 9)
    assert sorted(first) == list(range(9))
    assert first == drawn_order("task-1", "labeler-1", 9)
    assert first != drawn_order("task-1", "labeler-2", 9)
    assert first != drawn_order("task-2", "labeler-1", 9)
    places = [drawn_order(f"task-{n}", "labeler-1", 3).index(0) for n in range(3000)]
    assert all(850 <= places.count(place) <= 1150 for place in range(3)), "1000 each, give or take 5.8 standard errors"


def test_errors_of_labelling_are_errors_of_preflab() -> None:
    assert issubclass(Invalid, PreflabError)
