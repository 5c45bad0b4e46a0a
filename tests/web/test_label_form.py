"""The labelling form as data: fields by place on the page ↔ answers in the task's order, and what is still missing."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.labelling.checks import checked_answer
from preflab.labelling.options import CampaignOptions
from preflab.records import Answer, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer
from preflab.ways.form import Asked, Group, missing_groups, missing_sentence
from preflab.ways.registry import way_named

# Place 0 (A) shows completion 2, place 1 (B) completion 0, place 2 (C) completion 1.
ORDER = (2, 0, 1)
CASES: list[tuple[str, tuple[int, ...], dict[str, str], Answer]] = [
    ("ranking", ORDER, {"rank_0": "1", "rank_1": "F", "rank_2": "1"}, RankingAnswer((None, 1, 1))),
    ("side_by_side", (1, 0), {"choice": "0"}, SideBySideAnswer("second")),
    ("side_by_side", (1, 0), {"choice": "equal"}, SideBySideAnswer("equal")),
    ("side_by_side", (1, 0), {"failed_0": "1"}, SideBySideAnswer(None, None, (False, True))),
    ("best_of", ORDER, {"choice": "1", "failed_0": "1"}, SideBySideAnswer(None, 0, (False, False, True))),
    ("best_of", ORDER, {"choice": "equal"}, SideBySideAnswer("equal")),
    (
        "likert", (1, 0), {"score_0_0": "5", "score_0_1": "4", "failed_1": "1"},
        LikertAnswer({"helpful": (None, 5), "honest": (None, 4)}, (True, False)),
    ),
    ("thumbs", ORDER, {"up_0": "up", "up_1": "down", "up_2": "up"}, ThumbsAnswer((False, True, True))),
    (
        "score_then_rank", ORDER,
        {"score_0_0": "7", "score_1_0": "2", "failed_2": "1", "rank_0": "1", "rank_1": "2"},
        RankingAnswer((2, None, 1), {"overall": (2, None, 7)}),
    ),
]  # fmt: skip


def asked(way: str, order: tuple[int, ...]) -> Asked:
    return Asked(way, order, ("helpful", "honest") if way == "likert" else ())


def groups_of(found: Asked) -> list[Group]:
    return way_named(found.way).groups(found)


def options(way: str) -> CampaignOptions:
    made: Any = CampaignOptions(name="x", way=way, criteria=("helpful", "honest") if way == "likert" else ())
    return made


@pytest.mark.parametrize(("way", "order", "fields", "answer"), CASES)
def test_fields_by_place_become_an_answer_in_the_tasks_order(
    way: str, order: tuple[int, ...], fields: dict[str, str], answer: Answer
) -> None:
    found = asked(way, order)
    assert missing_groups(found, groups_of(found), fields) == []
    assert checked_answer(options(way), len(order), way_named(way).from_form(found, fields)) == answer


@pytest.mark.parametrize(("way", "order", "fields", "answer"), CASES)
def test_an_answer_fills_the_form_it_came_from(
    way: str, order: tuple[int, ...], fields: dict[str, str], answer: Answer
) -> None:
    assert way_named(way).to_form(answer, asked(way, order)) == fields


def test_what_is_missing_is_named_by_the_letters_of_the_page() -> None:
    found = asked("ranking", ORDER)
    groups = groups_of(found)
    assert missing_sentence(found, missing_groups(found, groups, {})) == "Still to do: a rank for A, B and C"
    assert (
        missing_sentence(found, missing_groups(found, groups, {"rank_0": "2", "rank_2": "1"}))
        == "Still to do: a rank for B"
    )
    assert missing_sentence(found, []) == ""
    pair = asked("side_by_side", (0, 1))
    assert missing_sentence(pair, missing_groups(pair, groups_of(pair), {})) == "Still to do: a choice"


def test_a_failed_completion_is_not_the_best() -> None:
    """Choosing what is marked as failed is no choice; with all of them failed none is needed."""
    found = asked("best_of", ORDER)
    groups = groups_of(found)
    assert len(missing_groups(found, groups, {"choice": "0", "failed_0": "1"})) == 1
    assert missing_groups(found, groups, {"failed_0": "1", "failed_1": "1", "failed_2": "1"}) == []


def test_no_field_tells_the_tasks_order() -> None:
    """The same groups whatever the order: who reads the page's source learns nothing about which model is where."""
    for way in ("ranking", "best_of", "likert", "thumbs", "score_then_rank"):
        assert groups_of(asked(way, (0, 1, 2))) == groups_of(asked(way, (2, 1, 0)))
