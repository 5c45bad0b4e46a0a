"""From data to places on the paper: honest ranges, round ticks, labels that do not collide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from preflab.words import number

MOST_DECADES = 6
"""Powers of ten that a logarithmic axis spans; what lies further down is drawn on its lower edge."""


@dataclass(frozen=True)
class Scale:
    """A map from [low, high] to [start, end] on the paper: linear, or of the logarithms."""

    low: float
    high: float
    start: float
    end: float
    step: float = 0.0
    """Between ticks; 0: a round one for this range."""
    log: bool = False
    """`low` is above 0 then, and what lies below it, zero and negative numbers too, has its place at `start`."""
    below: bool = False
    """Whether something of the kind is drawn: the lowest tick says so."""

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        here = math.log10(max(value, self.low)) if self.log else value
        return self.start + (here - low) / (high - low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values within the range: of a logarithmic scale its powers of ten."""
        if self.log:
            return [10.0**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        return round_ticks(self.low, self.high, self.between)

    @property
    def between(self) -> float:
        """The step between ticks."""
        return self.step or round_step(self.high - self.low)

    def text(self, tick: float) -> str:
        """What stands beside a tick."""
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
    """1, 2 or 5 times a power of ten, so that about `num` of them make the span."""
    raw = span / num
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)


def round_ticks(low: float, high: float, step: float) -> list[float]:
    """Multiples of a step from low to high."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def data_range(values: Iterable[float], *, zero: bool = False) -> tuple[float, float, float]:
    """(low, high, step): the range of the finite values, widened to ticks; with `zero` it includes 0; never empty."""
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
    """The places moved as little as needed so that neighbours are `gap` apart and all lie within [low, high]."""
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


def thinned(length: int, most: int) -> list[int]:
    """At most `most` indices of `length`, evenly spaced, the first and the last among them."""
    if length <= most:
        return list(range(length))
    return sorted({round(index * (length - 1) / (most - 1)) for index in range(most)})
