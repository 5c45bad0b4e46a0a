"""An AI judge's points as a reward, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.records import Prompt
from preflab.rewards.judge_scorer import JudgeScorer
from preflab.settings.ai import EndpointSettings, JudgeSource
from preflab.settings.rewards import RewardSource
from preflab.training.protocols import ScoringItem

POINTS = {"tone": {"a": 5.0, "b": 1.0}, "facts": {"a": 2.0, "b": 4.0}}
ITEMS = [ScoringItem(Prompt.make(text="p"), text) for text in ("a", "b")]


def rate(criterion: str, asked: Sequence[tuple[str, str]]) -> list[float | None]:
    return [POINTS[criterion].get(text) for _, text in asked]


def test_points_are_weighted_on_peoples_scale() -> None:
    # tone as it is, weight 3; facts 1 + ½ points, weight −1: (3 · 5 − 2) / 4 and (3 · 1 − 3) / 4
    scorer = JudgeScorer(rate, {"tone": 3.0, "facts": -1.0}, {"facts": (1.0, 0.5)})
    found = scorer.score(ITEMS)
    assert found.total.tolist() == [3.25, 0.0]
    assert found.terms == {}
    assert {name: points.tolist() for name, points in found.details.items()} == {
        "tone": [5.0, 1.0],
        "facts": [2.0, 3.0],
    }


def test_judge_answer_that_cannot_be_read_is_an_error_not_zero() -> None:
    with pytest.raises(PreflabError, match="points for tone cannot be read; completion 'c'"):
        JudgeScorer(rate, {"tone": 1.0}).score([*ITEMS, ScoringItem(Prompt.make(text="p"), "c")])


def test_a_judge_needs_criteria_and_is_one_source() -> None:
    judge = JudgeSource(endpoint=EndpointSettings(base_url="http://127.0.0.1/v1", model="m"))
    assert RewardSource(judge=judge, criteria={"tone": 1.0}).judge == judge
    with pytest.raises(ValueError, match="a judge needs `criteria`"):
        RewardSource(judge=judge)
    with pytest.raises(ValueError, match="criteria is for a reward by `judge`"):
        RewardSource(function="a:b", criteria={"tone": 1.0})
    with pytest.raises(ValueError, match="give one of them"):
        RewardSource(judge=judge, criteria={"tone": 1.0}, function="a:b")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"model": "rm", "timeout_s": 3.0}, "timeout_s is for a reward by `function`"),
        ({"function": "a:b", "class_label": "good"}, "class_label is for a reward by `model`"),
        ({"function": "a:b", "std_coef": 2.0}, "std_coef is for a reward by `ensemble`"),
        ({"model": "rm", "calibration": "ai"}, "calibration is for a reward by `judge`"),
    ],
)
def test_a_setting_that_the_source_does_not_read_is_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RewardSource(**source)
