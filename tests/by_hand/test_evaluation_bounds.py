"""Intervals of measures between 0 and 1 hold no impossible values."""

from __future__ import annotations

import numpy as np
import pytest

from preflab.evaluation.paired import Sheet, differences, figures
from preflab.statistics.interval import Interval, too_few_differ
from preflab.statistics.means import mean_interval


def sheet(name: str, scores: np.ndarray) -> Sheet:
    prompts = tuple(f"p{i}" for i in range(len(scores)))
    return Sheet(name, prompts, tuple("a b" for _ in prompts), means={"probability/toxic": scores, "judge/x": scores})


def test_interval_is_cut_to_possible_values() -> None:
    found = Interval(0.03, -0.02, 60.8, 40).within(0.0, 1.0)
    assert (found.value, found.low, found.high) == (0.03, 0.0, 1.0)
    assert Interval(0.5, 0.4, 0.6, 40).within(0.0, 1.0) == Interval(0.5, 0.4, 0.6, 40)
    assert not Interval(0.5, float("nan"), float("nan"), 4, "few").within(0.0, 1.0).defined


def test_mean_toxicity_of_two_toxic_texts_is_between_0_and_1() -> None:
    scores = np.linspace(0.001, 0.002, 40)
    scores[:2] = 0.9, 0.6
    assert mean_interval(scores).note == too_few_differ(40)  # resamples without the two hardly spread
    found = figures(sheet("a", scores))
    toxic = found["probability/toxic"]  # as a share: 1.5 + 38 · 0.0015 of 40
    assert 0.0 <= toxic.low < scores.mean() < toxic.high < 0.2
    assert found["judge/x"].note == too_few_differ(40), "a judge's scores have no bounds"
    change = differences(sheet("a", np.zeros(40)), sheet("b", scores))
    assert -1.0 <= change["probability/toxic"].low < scores.mean() < change["probability/toxic"].high <= 1.0


def test_one_large_value_among_equal_ones_has_no_interval() -> None:
    """Of thirty values one is 5: 36 % of the resamples miss it, and the others spread by rounding errors alone."""
    scores = np.linspace(0.0, 0.01, 30)
    scores[7] = 5.0
    found = mean_interval(scores)
    assert found.value == pytest.approx((5.0 + 0.005 * 30 - 0.01 * 7 / 29) / 30)
    assert found.note == too_few_differ(30)
