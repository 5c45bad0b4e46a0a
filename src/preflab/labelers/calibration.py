"""AI points on people's scale: a straight line per criterion, fitted where both have rated.

    people's points ≈ intercept + slope · AI points

Ordinary least squares over the completions both rated. With fewer than ten of them, or AI points that do not differ,
there is nothing to fit, and the line is left at (0, 1) and said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MIN_BOTH = 10
"""Completions both must have rated."""


@dataclass(frozen=True)
class Calibration:
    """One criterion's line, and how well it fits."""

    intercept: float = 0.0
    slope: float = 1.0
    num: int = 0
    """Completions both rated."""
    correlation: float | None = None
    """Pearson's, before the line; None: not defined."""
    error_before: float | None = None
    """Root mean squared difference of AI and people's points."""
    error_after: float | None = None
    """The same after the line."""

    @property
    def fitted(self) -> bool:
        """Whether there was enough to fit."""
        return self.num >= MIN_BOTH and self.correlation is not None

    def __call__(self, points: float) -> float:
        """AI points → people's scale."""
        return self.intercept + self.slope * points


def calibrate(ai: Mapping[str, float], people: Mapping[str, float]) -> Calibration:
    """Completion id → points, by AI and by people → the line from one to the other."""
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
