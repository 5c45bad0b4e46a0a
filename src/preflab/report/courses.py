"""Describe a drawn curve in words that can be checked against the line: where it begins, turns and ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from preflab.words import number, three_digits

Shape = Literal["rises", "falls", "peaks", "dips", "flat", "unclear"]
TURNED = 1.5
"""Factor on the noise threshold for a turn: a turn is searched at many places, so noise imitates it more easily."""


@dataclass(frozen=True)
class Course:
    """A curve as it is drawn. Every number is the value of one point of the line, not a mean."""

    first: float
    last: float
    """`first` and `last` are the ends of the line."""
    low: float
    high: float
    turn: float
    """Value of the highest point, or of the lowest if the curve dips: the turn of a curve that `peaks` or `dips`."""
    turn_x: float
    """Place of that point on the x axis."""
    shape: Shape
    """The change beyond noise. `flat`: all points are equal to three digits; `unclear`: they differ only by noise."""


def read_course(xs: Sequence[float], ys: Sequence[float]) -> Course | None:
    """The course of a curve; None with fewer than two finite points.

    The shape is read from running means, so that a single noisy point cannot decide it. Noise is the standard deviation
    of successive differences / √2, so that a trend does not count as noise. If the drawn points contradict the shape
    (the means rise but the line ends below its start), the shape is `unclear`.
    """
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    if len(points) < 2:
        return None
    values = [y for _, y in points]
    shape = _shape(values)
    turn = values.index(min(values) if shape == "dips" else max(values))
    if not _is_drawn(shape, values, turn):
        shape = "unclear"
    if shape == "unclear" and three_digits(min(values)) == three_digits(max(values)):
        shape = "flat"
    return Course(values[0], values[-1], min(values), max(values), values[turn], points[turn][0], shape)


def _shape(values: Sequence[float]) -> Shape:
    width = max(1, len(values) // 10)
    needed = _more_than_noise(values, width)
    means = [sum(values[i : i + width]) / width for i in range(len(values) - width + 1)]
    start, end, top, bottom = means[0], means[-1], max(means), min(means)
    peaks = min(top - start, top - end) > TURNED * needed
    dips = min(start - bottom, end - bottom) > TURNED * needed
    if peaks or dips:
        return "peaks" if min(top - start, top - end) >= min(start - bottom, end - bottom) else "dips"
    if abs(end - start) < needed:
        return "unclear"
    return "rises" if end > start else "falls"


def _more_than_noise(values: Sequence[float], width: int) -> float:
    """The smallest difference between two means of `width` values that counts as a change.

    It is two standard errors of such a difference: each mean has the variance noise² / width, and 2.8 is about 2√2. A
    difference of less than 1 % of the larger end of the curve never counts.
    """
    steps = [b - a for a, b in pairwise(values)]
    middle = sum(steps) / len(steps)
    noise = math.sqrt(sum((step - middle) ** 2 for step in steps) / max(1, len(steps) - 1) / 2)
    return max(2.8 * noise / math.sqrt(width), 0.01 * max(abs(values[0]), abs(values[-1])), 1e-9)


def _is_drawn(shape: Shape, values: Sequence[float], turn: int) -> bool:
    """Whether the drawn points agree with the shape: their ends are in its order, or their extreme lies inside."""
    first, last = values[0], values[-1]
    if shape in ("peaks", "dips"):
        return 0 < turn < len(values) - 1 and values[turn] not in (first, last)
    return shape == "unclear" or (last > first if shape == "rises" else last < first)


def span_text(values: Sequence[float]) -> str:
    """One value, or the smallest and the largest: `1.31`, `1.18 to 1.31`."""
    low, high = three_digits(min(values)), three_digits(max(values))
    return low if low == high else f"{low} to {high}"


def describe_course(curve: Course, at: str = "at step {}") -> str:
    """The predicate of a sentence: `rises from 0.1 to 1.2`, `rises to 1.2 at step 40, then falls to 0.3`.

    Args:
        curve: the course to describe.
        at: template for a place on the x axis.
    """
    first, last, turn = three_digits(curve.first), three_digits(curve.last), three_digits(curve.turn)
    place, low, high = at.format(number(curve.turn_x)), three_digits(curve.low), three_digits(curve.high)
    return {
        "rises": f"rises from {first} to {last}",
        "falls": f"falls from {first} to {last}",
        "peaks": f"rises to {turn} {place}, then falls to {last}",
        "dips": f"falls to {turn} {place}, then rises to {last}",
        "flat": f"stays at {last}",
        "unclear": f"shows no clear trend between {low} and {high} and ends at {last}",
    }[curve.shape]


def course_sentence(what: str, curve: Course | None, unit: str = "") -> str:
    """`Entropy falls from 2.1 to 0.9 nats per token`; `Policy loss shows no clear trend between … and ends at …`."""
    if curve is None:
        return f"{what}: too few steps to say"
    return f"{what} {describe_course(curve)}{f' {unit}' if unit else ''}"
