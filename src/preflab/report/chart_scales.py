"""Map data to chart coordinates: axis ranges, round ticks, labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from preflab.words import number

MOST_DECADES = 6
"""Most powers of ten on a logarithmic axis; smaller values are drawn on its lower edge."""


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map from values in [low, high] to chart coordinates in [start, end]."""

    low: float
    high: float
    start: float
    end: float
    step: float = 0.0
    """Distance between ticks; 0 chooses a round one for the range."""
    log: bool = False
    """Logarithmic: `low` must be above 0, and values below it, also zero and negative ones, map to `start`."""
    below: bool = False
    """Whether values below `low` are drawn: the lowest tick is then written with ≤."""

    def __call__(self, value: float) -> float:
        """The coordinate of a value."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        here = math.log10(max(value, self.low)) if self.log else value
        return self.start + (here - low) / (high - low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values within the range; on a logarithmic scale the powers of ten."""
        if self.log:
            return [10.0**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        return round_ticks(self.low, self.high, self.between)

    @property
    def between(self) -> float:
        """The step between ticks."""
        return self.step or round_step(self.high - self.low)

    def text(self, tick: float) -> str:
        """The label of a tick."""
        if not self.log:
            return tick_text(tick, self.between)
        return f"≤\u00a0{number(tick)}" if self.below and tick <= self.low * 1.001 else number(tick)


def log_range(values: Iterable[float]) -> tuple[float, float]:
    """(low, high): powers of ten around the finite values above 0, `MOST_DECADES` apart at most, the highest kept.

    Example:
        >>> log_range([0.0, -1.0, 0.02, 400.0])
        (0.01, 1000.0)
    """
    above = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    top = math.ceil(math.log10(max(above)) - 1e-9)
    bottom = min(math.floor(math.log10(min(above)) + 1e-9), top - 1)
    return 10.0 ** max(bottom, top - MOST_DECADES), 10.0**top


def round_step(span: float, num: int = 5) -> float:
    """1, 2 or 5 times a power of ten, such that about `num` steps cover the span."""
    raw = span / num
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)


def round_ticks(low: float, high: float, step: float) -> list[float]:
    """Multiples of a step from low to high."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def data_range(values: Iterable[float], *, zero: bool = False) -> tuple[float, float, float]:
    """(low, high, step): the range of the finite values, widened to ticks and never empty; `zero` includes 0."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    if high - low < 1e-9 * max(1.0, abs(high)):
        pad = max(abs(high) * 0.5, 0.5)
        low, high = (low if zero and low == 0 else low - pad), high + pad
    step = round_step(high - low)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def tick_text(value: float, step: float) -> str:
    """A tick with as many decimals as the step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(value) < step * 1e-6:
        value = 0.0
    return f"{value:,.{decimals}f}".replace("-", "−")


def spread_labels(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places, moved so that neighbours are at least `gap` apart and all are within [low, high] if there is room."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    floor = low
    for index in order:
        moved[index] = max(moved[index], floor)
        floor = moved[index] + gap
    ceiling = high
    for index in reversed(order):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def pick_evenly(length: int, most: int) -> list[int]:
    """At most `most` of the indices below `length`, evenly spaced, including the first and the last."""
    if length <= most:
        return list(range(length))
    return sorted({round(index * (length - 1) / (most - 1)) for index in range(most)})
