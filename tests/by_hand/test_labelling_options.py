"""Options of campaigns are read strictly, and each error names its option."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.labelling.campaign_names import _same
from preflab.labelling.campaign_rows import checked_options, stored_options
from preflab.labelling.errors import Invalid
from preflab.labelling.options import CampaignOptions


@pytest.mark.parametrize(
    ("wrong", "found", "expected"),
    [
        ({"overlap": True}, "overlap: True", "neither true nor false"),
        ({"lease_minutes": True}, "lease_minutes: True", "neither true nor false"),
        ({"polarity": True}, "polarity: True", "neither true nor false"),
        ({"lease_minutes": 0.001}, "lease_minutes: 0.001", "greater than or equal"),
        ({"lease_minutes": "nan"}, "lease_minutes: 'nan'", "a finite number"),
        ({"hourly_cost": "-Infinity"}, "hourly_cost: '-Infinity'", "a finite number"),
        ({"hourly_cost": float("inf")}, "hourly_cost: the number inf", "a finite number"),
        ({"criteria": ["a", "a"]}, "criteria: ['a', 'a']", "has an entry twice"),
        ({"way": "likert"}, "criteria: not given", "criteria is empty"),
        ({"scale_ends": {"kind": ["bad", "good"]}}, "scale_ends: {'kind'", "the scales are"),
        ({"criterion": "x"}, "criterion: 'x'", "the criteria are none"),
    ],
)
def test_a_wrong_option_is_named(wrong: dict[str, Any], found: str, expected: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked_options({"name": "c", "question": "which?"} | wrong)
    assert refused.value.found.startswith(found)
    assert expected in refused.value.expected
    assert "which?" not in refused.value.found


def test_switches_stay_switches() -> None:
    assert checked_options({"name": "c", "ask_note": True, "count_ai": False}).ask_note


def test_a_stored_lease_of_less_than_a_second_is_a_second() -> None:
    stored = CampaignOptions(name="c").model_dump(mode="json")
    assert stored_options(stored | {"lease_minutes": 1e-6}).lease_minutes == 1 / 60
    with pytest.raises(Invalid, match="lease_minutes"):
        stored_options(stored | {"lease_minutes": 0})


@pytest.mark.parametrize("other", ["kind\u200bness", "kindness\ufe0f", "\u2060Kindness ", "kindness\U000e0101"])
def test_names_that_look_the_same_are_the_same(other: str) -> None:
    assert _same("kindness", other)
    assert not _same("kindness", "kindnes")
