"""What a policy is worth against √KL: how much of what was learned is real (Gao et al. 2022, section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preflab.evaluation.statistics import Interval


@dataclass(frozen=True)
class FrontierPoint:
    """Where one model stands: its distance from the reference, and what it is worth there."""

    model: str
    distance: Interval
    """√KL(policy ‖ reference) of whole completions, √nats."""
    worth: Mapping[str, Interval]
    """Measure (`judge/gold`, `reward/rm`) → value."""


def root(kl: Interval) -> Interval:
    """√ of an interval's ends; estimates below 0 count as 0."""
    value, low, high = (math.nan if math.isnan(v) else math.sqrt(max(0.0, v)) for v in (kl.value, kl.low, kl.high))
    return Interval(value, low, high, kl.num, kl.note)


def frontier(figures: Mapping[str, Mapping[str, Interval]], measures: Sequence[str]) -> list[FrontierPoint]:
    """One point per model that has a KL, nearest to the reference first.

    Args:
        figures: model → measure → interval, with the KL under `kl/exact`.
        measures: which of them say what a model is worth.
    """
    points = [
        FrontierPoint(model, root(found["kl/exact"]), {name: found[name] for name in measures if name in found})
        for model, found in figures.items()
        if "kl/exact" in found
    ]
    return sorted(points, key=lambda point: point.distance.value)
