"""Calibration: one straight line per criterion maps the scores of an AI judge to the scale that people use.

    people's score ≈ intercept + slope · AI score

Fitted by ordinary least squares on the completions that both rated. With fewer than ten of them, or if all AI scores
are equal, nothing is fitted: intercept 0, slope 1, and `fitted` is False.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_BOTH = 10
"""Fewest completions rated by both for which a line is fitted."""


@dataclass(frozen=True)
class Calibration:
    """The line of one criterion, and how well it fits."""

    intercept: float = 0.0
    slope: float = 1.0
    num: int = 0
    """Completions that both rated."""
    correlation: float | None = None
    """Pearson's correlation of AI and people's scores; None where it is not defined."""
    error_before: float | None = None
    """Root mean squared difference between AI and people's scores."""
    error_after: float | None = None
    """The same difference after the line was applied to the AI scores."""

    @property
    def fitted(self) -> bool:
        """True if there were enough ratings to fit the line, and a correlation is defined."""
        return self.num >= MIN_BOTH and self.correlation is not None

    def __call__(self, points: float) -> float:
        """Map an AI score to people's scale."""
        return self.intercept + self.slope * points


def calibrate(ai: Mapping[str, float], people: Mapping[str, float]) -> Calibration:
    """Fit the line that maps AI scores to people's; both arguments map the id of a completion to its score."""
    both = sorted(ai.keys() & people.keys())
    x, y = np.array([ai[i] for i in both]), np.array([people[i] for i in both])
    if len(both) < 2:
        return Calibration(num=len(both))
    before = float(np.sqrt(((x - y) ** 2).mean()))
    if len(both) < MIN_BOTH or np.ptp(x) == 0:
        return Calibration(num=len(both), error_before=before)
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    intercept = float(y.mean() - slope * x.mean())
    correlation = float(np.corrcoef(x, y)[0, 1]) if np.ptp(y) > 0 else None
    after = float(np.sqrt(((intercept + slope * x - y) ** 2).mean()))
    return Calibration(intercept, slope, len(both), correlation, before, after)


def calibrated_scores(
    criteria: Mapping[str, float],
    points: Mapping[str, Mapping[str, float | None]],
    lines: Mapping[str, Calibration],
) -> list[dict[str, Any]]:
    """One row per completion that has points on all criteria; `score` is the weighted mean of the calibrated points."""
    rows = []
    for completion_id, given in sorted(points.items()):
        values = [given.get(name) for name in criteria]
        if any(value is None for value in values):
            continue
        fitted = [
            lines[name](float(value or 0)) if name in lines else float(value or 0)
            for name, value in zip(criteria, values, strict=True)
        ]
        total = sum(abs(weight) for weight in criteria.values()) or 1.0
        score = sum(weight * value for weight, value in zip(criteria.values(), fitted, strict=True)) / total
        rows.append({"completion_id": completion_id, "points": dict(given), "score": score})
    return rows
