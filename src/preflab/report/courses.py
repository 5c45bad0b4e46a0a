"""How a drawn curve went, in words that one can check against the line: where it begins, turns and ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from preflab.words import number, three_digits

Shape = Literal["rises", "falls", "peaks", "dips", "flat", "unclear"]
TURNED = 1.5
"""A turn inside a curve is looked for among many places, so that noise makes one more easily than it moves an end."""


@dataclass(frozen=True)
class Course:
    """A curve as it is drawn. Every number here is that of a point of the line, none a mean of several."""

    first: float
    last: float
    """The drawn ends."""
    low: float
    high: float
    turn: float
    """The drawn point at which a curve that `peaks` or `dips` turns."""
    turn_x: float
    shape: Shape
    """What is more than noise; `flat`: all points are written alike, `unclear`: they differ by no more than noise."""


def course(xs: Sequence[float], ys: Sequence[float]) -> Course | None:
    """Read a curve: None with fewer than two finite points.

    Running means decide on the shape, so that a single noisy point does not; noise is the spread of successive
    differences / √2, so that a trend does not count as noise. A shape that the drawn points contradict (means that rise
    under a line that ends below its beginning) is not stated.
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
    """By how much two means of `width` values have to differ before it is called a change."""
    steps = [b - a for a, b in pairwise(values)]
    middle = sum(steps) / len(steps)
    noise = math.sqrt(sum((step - middle) ** 2 for step in steps) / max(1, len(steps) - 1) / 2)
    return max(2.8 * noise / math.sqrt(width), 0.01 * max(abs(values[0]), abs(values[-1])), 1e-9)


def _is_drawn(shape: Shape, values: Sequence[float], turn: int) -> bool:
    """Whether somebody who looks at the points alone would say so as well."""
    first, last = values[0], values[-1]
    if shape in ("peaks", "dips"):
        return 0 < turn < len(values) - 1 and values[turn] not in (first, last)
    return shape == "unclear" or (last > first if shape == "rises" else last < first)


def went(found: Course, at: str = "at step {}") -> str:
    """What comes after the name of a curve: `rises from 0.1 to 1.2`, `rises to 1.2 at step 40, then falls to 0.3`.

    Args:
        at: how a place on the x axis is named.
    """
    first, last, turn = three_digits(found.first), three_digits(found.last), three_digits(found.turn)
    place, low, high = at.format(number(found.turn_x)), three_digits(found.low), three_digits(found.high)
    return {
        "rises": f"rises from {first} to {last}",
        "falls": f"falls from {first} to {last}",
        "peaks": f"rises to {turn} {place}, then falls to {last}",
        "dips": f"falls to {turn} {place}, then rises to {last}",
        "flat": f"stays at {last}",
        "unclear": f"shows no clear trend between {low} and {high} and ends at {last}",
    }[found.shape]


def course_sentence(what: str, found: Course | None, unit: str = "") -> str:
    """`Entropy falls from 2.1 to 0.9 nats per token`; `Policy loss shows no clear trend between … and ends at …`."""
    if found is None:
        return f"{what}: too few steps to say"
    return f"{what} {went(found)}{f' {unit}' if unit else ''}"
