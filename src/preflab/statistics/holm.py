"""Holm's correction: of reports with ten comparisons and no true difference, 40 % show a p-value below 0.05."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Adjusted p-values: at most 5 % of families have a false finding if those of at most 0.05 count as found.

    In ascending order of p, adjusted₍ᵢ₎ = max over j ≤ i of min(1, (m − j + 1) · p₍ⱼ₎), m the number of comparisons.
    nan, a comparison without a test, stays nan and does not count. Source: Holm 1979.
    """
    tested = sorted((name for name, p in p_values.items() if not math.isnan(p)), key=lambda name: p_values[name])
    adjusted = dict.fromkeys(p_values, math.nan)
    largest = 0.0
    for place, name in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - place) * p_values[name]))
        adjusted[name] = largest
    return adjusted
