"""The frontier: scores of models against √KL from the reference (Gao et al. 2022, section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preflab.statistics.interval import Interval


@dataclass(frozen=True)
class FrontierPoint:
    """One model: its distance from the reference and its scores."""

    model: str
    distance: Interval
    """√KL(policy ‖ reference) of whole completions, √nats."""
    worth: Mapping[str, Interval]
    """Measure (`judge/gold`, `reward/rm`) → mean score with its interval."""


def root(kl: Interval) -> Interval:
    """√ of an interval's value and ends; numbers below 0 count as 0."""
    value, low, high = (math.nan if math.isnan(v) else math.sqrt(max(0.0, v)) for v in (kl.value, kl.low, kl.high))
    return Interval(value, low, high, kl.num, kl.note)


def frontier(figures: Mapping[str, Mapping[str, Interval]], measures: Sequence[str]) -> list[FrontierPoint]:
    """One point per model with a KL, the nearest to the reference first.

    Args:
        figures: model → measure → interval, with the KL under `kl/exact`.
        measures: names of the scores to include.
    """
    points = [
        FrontierPoint(
            model, root(intervals["kl/exact"]), {name: intervals[name] for name in measures if name in intervals}
        )
        for model, intervals in figures.items()
        if "kl/exact" in intervals
    ]
    return sorted(points, key=lambda point: point.distance.value)
