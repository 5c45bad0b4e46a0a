"""From data to places on the paper: honest ranges, round ticks, labels that do not collide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear map from [low, high] to [start, end] on the paper."""

    low: float
    high: float
    start: float
    end: float
    step: float = 0.0
    """Between ticks; 0: a round one for this range."""

    def __call__(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values within the range."""
        return round_ticks(self.low, self.high, self.between)

    @property
    def between(self) -> float:
        """The step between ticks."""
        return self.step or round_step(self.high - self.low)


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
