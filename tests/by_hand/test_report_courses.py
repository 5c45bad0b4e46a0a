"""Titles of curves say what the line shows: its drawn ends and turns, never a mean that no point has."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from preflab.report.courses import Course, course_sentence, read_course
from preflab.words import three_digits


def read(ys: Sequence[float]) -> Course:
    found = read_course(list(range(len(ys))), ys)
    assert found is not None
    return found


def test_a_loss_ends_where_its_line_ends() -> None:
    """The last tenth, (−0.0065 + 0.0055) / 2, is −0.0005 on average; the line ends at +0.0055."""
    ys = [-0.02 + 0.001 * step for step in range(18)] + [-0.0065, 0.0055]
    assert sum(ys[-2:]) / 2 == pytest.approx(-0.0005)
    found = read(ys)
    assert (found.first, found.last) == (-0.02, 0.0055)
    sentence = course_sentence("Policy loss", found)
    assert sentence == "Policy loss rises from −0.0200 to 0.0055"
    assert "0.0005" not in sentence


def test_a_straight_line_rises_and_falls_between_its_ends() -> None:
    assert course_sentence("Reward", read([0.1, 0.2, 0.3, 0.4])) == "Reward rises from 0.100 to 0.400"
    assert course_sentence("Entropy", read([2.1, 1.5, 0.9]), "nats") == "Entropy falls from 2.10 to 0.900 nats"


def test_a_curve_that_turns_is_told_with_its_turn() -> None:
    hump = [1 - ((step - 12) / 12) ** 2 for step in range(21)]  # 0 at step 0, 1 at 12, 1 − (8/12)² = 0.556 at 20
    assert course_sentence("Gold", read(hump)) == "Gold rises to 1.00 at step 12, then falls to 0.556"
    assert course_sentence("Loss", read([-y for y in hump])) == "Loss falls to −1.00 at step 12, then rises to −0.556"


def test_a_flat_line_stays() -> None:
    found = read([0.25] * 30)
    assert (found.shape, course_sentence("KL", found)) == ("flat", "KL stays at 0.250")


def test_noise_is_no_trend_and_its_sentence_names_the_drawn_range() -> None:
    ys = np.random.default_rng(3).normal(1.0, 0.2, size=200).tolist()
    found = read(ys)
    assert found.shape == "unclear"
    low, high, last = (three_digits(value) for value in (min(ys), max(ys), ys[-1]))
    assert course_sentence("Reward", found) == (
        f"Reward shows no clear trend between {low} and {high} and ends at {last}"
    )


def test_a_trend_that_the_drawn_ends_contradict_is_not_told() -> None:
    """The running means rise, but the first point is an outlier above all others and the line ends below it."""
    ys = [5.0, *(0.05 * step for step in range(40))]
    found = read(ys)
    assert found.last < found.first
    assert not course_sentence("Reward", found).startswith("Reward rises")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("slope", [-0.02, 0.0, 0.02])
def test_no_sentence_contradicts_the_points(seed: int, slope: float) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.3, size=60)
    ys = [slope * step + float(noise[step]) for step in range(60)]
    found = read(ys)
    assert (found.first, found.last, found.low, found.high) == (ys[0], ys[-1], min(ys), max(ys))
    if found.shape == "rises":
        assert ys[-1] > ys[0]
    elif found.shape == "falls":
        assert ys[-1] < ys[0]
    elif found.shape in ("peaks", "dips"):
        assert found.turn in (min(ys), max(ys))
        assert ys[round(found.turn_x)] == found.turn
    assert found.shape != "flat"


def test_gaps_are_left_out_and_too_few_points_say_nothing() -> None:
    assert read_course([0, 1, 2, 3], [math.nan, 1.0, math.nan, 2.0]) == read_course([1, 3], [1.0, 2.0])
    assert read_course([0], [1.0]) is None
    assert course_sentence("Loss", None) == "Loss: too few steps to say"
