"""The frontier: models in the order of their distance, and the root of the distance's interval."""

from __future__ import annotations

import math

from preflab.evaluation.frontier import frontier
from preflab.statistics.interval import Interval


def test_frontier_orders_by_distance_and_takes_the_root() -> None:
    far = {"kl/exact": Interval(4.0, 1.0, 9.0, 10), "judge/gold": Interval(1.0, 0.0, 2.0, 10)}
    near = {"kl/exact": Interval(-0.01, -0.02, 0.25, 10), "judge/gold": Interval(0.0, -1.0, 1.0, 10)}
    points = frontier({"far": far, "near": near, "unknown": {}}, ["judge/gold", "reward/rm"])
    assert [point.model for point in points] == ["near", "far"]
    assert (points[0].distance.value, points[0].distance.high) == (0.0, 0.5)
    assert (points[1].distance.low, points[1].distance.value, points[1].distance.high) == (1.0, 2.0, 3.0)
    assert list(points[1].worth) == ["judge/gold"]


def test_frontier_keeps_ends_that_are_not_defined() -> None:
    unknown = {"kl/exact": Interval(4.0, math.nan, math.nan, 1, "no interval: too few (n = 1)")}
    distance = frontier({"one": unknown}, [])[0].distance
    assert distance.value == 2.0
    assert math.isnan(distance.low)
    assert math.isnan(distance.high)
    assert (distance.num, distance.note) == (1, "no interval: too few (n = 1)")
