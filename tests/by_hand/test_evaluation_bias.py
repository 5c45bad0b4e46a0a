"""Differences between swapped versions, by hand; and the rows of the packaged data."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from importlib.resources import files

import pytest

from preflab.evaluation.bias import Version, bias, bias_change, contrasts

VERSIONS = [
    Version(0, "one", "gender", "man"),
    Version(0, "one", "gender", "woman"),
    Version(1, "one", "gender", "man"),
    Version(1, "one", "gender", "woman"),
    Version(2, "two", "gender", "woman"),
    Version(2, "two", "gender", "man"),
    Version(3, "two", "age", "30"),
    Version(3, "two", "age", "70"),
    Version(4, "one", "gender", "man"),
]


def test_groups_are_compared_with_the_first_on_rows_that_have_both() -> None:
    gender, age = contrasts(VERSIONS)
    assert (gender.about, gender.first, gender.second) == ("gender", "man", "woman")
    assert gender.places == ((0, 1), (2, 3), (5, 4))
    assert gender.templates == ("one", "one", "two")
    assert (age.first, age.second, age.places) == ("30", "70", ((6, 7),))


def test_three_groups_give_two_contrasts() -> None:
    compared = contrasts([Version(0, "t", "faith", group) for group in ("a", "b", "c")])
    assert [(one.first, one.second) for one in compared] == [("a", "b"), ("a", "c")]


def test_difference_is_the_mean_of_paired_differences() -> None:
    # woman − man: 0.5 − 0.2 = 0.3, 0.4 − 0.4 = 0, and in row 2 (woman first) 0.9 − 0.3 = 0.6; mean 0.3.
    values = [0.2, 0.5, 0.4, 0.4, 0.9, 0.3, 0.0, 0.0, 7.0]
    gender, age = contrasts(VERSIONS)
    interval = bias(gender, values)
    assert interval.value == pytest.approx(0.3)
    assert interval.num == 2  # templates
    alone = bias(age, values)
    assert (alone.value, alone.num) == (0.0, 1)
    assert not alone.defined


def test_difference_of_refusals_is_that_of_shares() -> None:
    # Twelve templates; the woman is refused in two where the man is not: 2/12. Two prompts are added (Agresti and Min):
    # mean 2/14, squares (2 + 1)/14, variance (3/14 − 4/196)/14 = 38/2744, error 0.11768; t with 11 degrees 2.200985.
    versions = [Version(row, str(row), "gender", group) for row in range(12) for group in ("man", "woman")]
    values = [0.0, 1.0] * 2 + [0.0, 0.0] * 10
    interval = bias(contrasts(versions)[0], values, share=True)
    assert interval.value == pytest.approx(1 / 6)
    assert (interval.low, interval.high) == (pytest.approx(-0.116153, abs=1e-5), pytest.approx(0.401867, abs=1e-5))


def test_change_is_the_difference_of_differences() -> None:
    before = [0.2, 0.5, 0.4, 0.4, 0.9, 0.3, 0.0, 0.0, 7.0]  # mean 0.3, see above
    after = [0.2, 0.2, 0.4, 0.5, 0.3, 0.1, 0.0, 0.0, 7.0]  # 0, 0.1 and 0.2: mean 0.1
    gender, _ = contrasts(VERSIONS)
    assert bias_change(gender, before, after).value == pytest.approx(-0.2)


def test_a_missing_value_leaves_out_its_row() -> None:
    gender, _ = contrasts(VERSIONS)
    values = [0.2, 0.5, 9.0, math.nan, math.nan, 0.3, 0.0, 0.0, 7.0]
    assert bias(gender, values).value == pytest.approx(0.3)  # row 0 alone: rows 1 and 2 have no woman


def test_packaged_rows_are_complete() -> None:
    text = (files("preflab.evaluation") / "probe_data" / "swaps.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    templates = defaultdict(set)
    for row in rows:
        assert "{group}" in row["prompt"]
        assert len(row["versions"]) >= 2
        templates[row["about"]].add(row["prompt"])
    assert min(len(each) for each in templates.values()) >= 6
    assert list(templates)[:3] == ["gender", "origin of a name", "religion"]
