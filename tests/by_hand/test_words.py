"""Figures and counted things in words: one precision for a column, one minus, one per cent, one plural."""

from __future__ import annotations

import math
from typing import Any

import pytest

from preflab.words import (
    ALL_EQUAL,
    amount,
    best_value,
    column,
    count,
    difference_sentence,
    difference_text,
    hours_text,
    interval_text,
    intervals,
    money,
    number,
    percent,
    plural,
    points,
    rounded,
    signed,
    three_digits,
    whole_percent,
)


def found(value: float, low: float | None = None, high: float | None = None, note: str = "") -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "num": 10, "note": note}


@pytest.mark.parametrize(("num", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1240, "1,240 rows")])
def test_counted_nouns(num: int, text: str) -> None:
    assert count(num, "row") == text


def test_count_with_irregular_plurals() -> None:
    assert count(1, "person", "people") == "1 person"
    assert count(3, "person", "people") == "3 people"
    assert (plural(1, "awaits", "await"), plural(2, "awaits", "await")) == ("awaits", "await")


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1 hour"), (0.996, "1 hour"), (1.5, "1.5 hours"), (0.2, "0.2 hours"), (54, "54 hours")]
)
def test_amount_is_singular_if_written_as_1(value: float, text: str) -> None:
    assert amount(value, "hour") == text


def test_hours_text_and_money() -> None:
    assert hours_text(1.0) == "1 hour"
    assert hours_text(1 / 60) == "1 minute"
    assert hours_text(1 / 180) == "20 seconds"
    assert hours_text(0.0) == "0 minutes"
    assert hours_text(0.05) == "3 minutes"
    assert money(12.4, "EUR") == "12.40 EUR"
    assert money(1234.5, "EUR") == "1,234 EUR"


def test_minus_and_per_cent_signs() -> None:
    assert number(-0.83) == "−0.83"
    assert rounded(-0.004, 2) == "0.00", "a zero without a sign"
    assert signed(0.04, 3) == "+0.040"
    assert signed(-0.04, 3) == "−0.040"
    assert percent(-0.125) == "−12.5\u00a0%"
    assert whole_percent(0.216) == "22\u00a0%"
    assert points(0.19) == "19\u00a0points"
    for text in (number(math.nan), percent(None), rounded(math.inf, 1), signed(None, 2), whole_percent(None)):
        assert text == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3.00"),
        (-0.5, "−0.500"),
        (9.996, "10.0"),
        (412.3, "412"),
        (4123.9, "4,124"),
        (0.0055, "0.0055"),
        (0, "0.00"),
    ],
)
def test_three_digits_of_measured_numbers(value: float, text: str) -> None:
    assert three_digits(value) == text


def test_a_column_of_numbers_has_one_precision() -> None:
    assert column([2.31, 0.944, 1.0]) == ["2.31", "0.94", "1.00"]  # the middle one, 1.0, gets three digits
    assert column([12, 3, 1240]) == ["12", "3", "1,240"]
    assert column([0.0055, -0.0005]) == ["0.0055", "−0.0005"]
    assert column([None, 1.5, math.nan]) == ["–", "1.50", "–"]
    assert column([0.0, 0.0]) == ["0", "0"]


def test_a_column_does_not_show_small_numbers_as_0() -> None:
    # Most have three digits before the point, so no decimals; 0.0012 would be 0.
    assert column([0.0012, 250.0, 400.2]) == ["0.0012", "250", "400"]


def test_a_column_of_shares_has_decimals_for_all_or_for_none() -> None:
    assert column([0.5, 0.25], percent) == ["50\u00a0%", "25\u00a0%"]
    assert column([0.5, 0.125, None], percent) == ["50.0\u00a0%", "12.5\u00a0%", "–"]


def test_intervals_share_the_decimals_of_the_narrowest() -> None:
    # Half widths 0.16 and 4.1 bear two decimals and none; 41.00 is within four digits.
    figures = [found(1.71, 1.55, 1.87), found(41.0, 36.9, 45.1), found(0.0, 0.0, 0.0), None]
    assert intervals(figures) == ["1.71 (1.55 to 1.87)", "41.00 (36.90 to 45.10)", "0.00", "–"]
    # 412 has three digits before the point: one decimal is left.
    two = intervals([found(1.71, 1.52, 1.9), found(412.0, 371.0, 453.0)])
    assert two == ["1.7 (1.5 to 1.9)", "412.0 (371.0 to 453.0)"]


def test_shares_have_a_decimal_only_where_the_interval_is_narrower_than_a_point() -> None:
    assert interval_text(found(0.66, 0.63, 0.69), percent) == "66\u00a0% (63 to 69\u00a0%)"
    assert interval_text(found(0.66, 0.655, 0.665), percent) == "66.0\u00a0% (65.5 to 66.5\u00a0%)"
    assert best_value(found(0.66, 0.63, 0.69), percent) == "66\u00a0%"
    mixed = intervals([found(0.66, 0.63, 0.69), found(0.5, 0.495, 0.505)], percent)
    assert mixed == ["66.0\u00a0% (63.0 to 69.0\u00a0%)", "50.0\u00a0% (49.5 to 50.5\u00a0%)"]


def test_an_interval_never_looks_as_if_it_had_no_width() -> None:
    rare = found(0.00003, 0.00002, 0.00004)
    assert interval_text(rare) == "0.00003 (0.00002 to 0.00004)"
    assert interval_text(rare, percent) == "0.003\u00a0% (0.002 to 0.004\u00a0%)"
    assert intervals([rare, found(5.0, 4.0, 6.0)]) == ["0.00003 (0.00002 to 0.00004)", "5.000 (4.000 to 6.000)"]
    # The ends differ with four decimals, but the difference that was found would be 0.0000.
    assert interval_text(found(0.00003, 0.00001, 0.00006)) == "0.00003 (0.00001 to 0.00006)"
    said = difference_sentence(rare, "ppo", "sft", "toxicity")
    assert said == "ppo scores 0.00003 higher than sft on toxicity, 95\u00a0% interval 0.00002 to 0.00004"


def test_interval_text_without_an_interval_gives_the_note() -> None:
    assert interval_text(found(0.5, note="one prompt")) == "0.5 (one prompt)"
    assert interval_text(found(0.5, note=ALL_EQUAL)) == "0.5 (no interval: all values are equal)"
    assert interval_text(found(0.5, note="no interval: too few (n = 4)")) == "0.5 (no interval: too few (n = 4))"
    assert intervals([found(0.5, note="one prompt"), None]) == ["0.500 (one prompt)", "–"]
    assert interval_text(None) == interval_text({"value": None}) == "–"


def test_difference_sentence_by_hand() -> None:
    up, none = found(1.09, 0.94, 1.24), found(0.01, -0.09, 0.11)
    said = difference_sentence(up, "ppo", "sft", "gold (judge)")
    assert said == "ppo scores 1.09 higher than sft on gold (judge), 95\u00a0% interval 0.94 to 1.24"
    # Half 0.1 times (1.96 + 0.84) / 1.96.
    assert difference_text(none) == "no difference found (could have seen 0.14)"
    said = difference_sentence(none, "ppo", "sft", "gold (judge)")
    assert said == "no difference found between ppo and sft on gold (judge) (could have seen 0.14)"
    equal = found(0.0, note=ALL_EQUAL)
    assert difference_sentence(equal, "ppo", "sft", "gold (judge)") == (
        "ppo and sft on gold (judge): equal on every prompt"
    )
    down = difference_sentence(found(-0.2, -0.25, -0.15), "ppo", "sft", "rude", points)
    assert down == "ppo scores 20\u00a0points lower than sft on rude, 95\u00a0% interval −25 to −15\u00a0points"
