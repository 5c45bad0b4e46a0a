"""When a share of pairs in the right order may be chance, and what is said of it."""

from __future__ import annotations

import pytest

from preflab.maths.chance import describe_chance


def share(value: float, low: float | None, high: float | None, num: int) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high, "num": num}


@pytest.mark.parametrize(
    "found",
    [
        share(0.33, 0.0, 1.0, 6),
        share(0.6, 0.5, 0.7, 100),
        share(0.4, 0.3, 0.5, 100),
        share(1.0, None, None, 5),  # 2 · ½⁵ = 0.0625
        share(0.5, None, None, 40),  # all scores are equal
    ],
)
def test_an_interval_that_holds_one_half_is_no_better_than_chance(found: dict[str, float | None]) -> None:
    assert describe_chance(found, "6 held-out pairs") == "no better than chance as far as 6 held-out pairs can tell"


@pytest.mark.parametrize("found", [share(0.7, 0.51, 0.9, 20), share(1.0, None, None, 6)])
def test_above_one_half_nothing_is_said(found: dict[str, float | None]) -> None:
    assert describe_chance(found, "6 held-out pairs") == ""


@pytest.mark.parametrize("found", [share(0.3, 0.1, 0.49, 20), share(0.0, None, None, 6)])
def test_below_one_half_it_is_worse(found: dict[str, float | None]) -> None:
    assert describe_chance(found, "20 held-out pairs") == "worse than chance on 20 held-out pairs"
