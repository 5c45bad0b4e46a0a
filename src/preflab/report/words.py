"""Numbers and courses of numbers as a person reads them: the sentences of titles and captions come from here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Form = Callable[[float | None], str]
"""How a value is written: `number`, `percent`, `points`."""
POWER_FACTOR = (1.959964 + 0.841621) / 1.959964
"""Half an interval's width times this is the difference that would be found with 80 % power."""


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits without idle zeros, a true minus sign: 0.0821, −1.24, 12, 1,240; a dash for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4:
        return f"{value:.1e}".replace("-", "−")
    text = f"{value:,.{max(0, min(digits - 1 - size, 4))}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text.replace("-", "−")


def rounded(value: float | None, decimals: int) -> str:
    """A number with this many decimals, a true minus sign."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}"
    return (text.removeprefix("-") if float(text.replace(",", "")) == 0 else text).replace("-", "−")


def decimals_for(width: float) -> int:
    """Decimals that an interval of this half width bears: 0.01 → 3, 0.16 → 2, 0.5 → 1, 5 → 0."""
    if not math.isfinite(width) or width <= 0:
        return 2
    return max(0, min(4, -math.floor(math.log10(width / 4))))


def percent(share: float | None) -> str:
    """0.725 → 72.5 %, 0.004 → 0.4 %, 0.9 → 90 %; the space does not break."""
    if share is None or not math.isfinite(share):
        return "–"
    text = f"{100 * share:.1f}".removesuffix(".0")
    return ("0" if text == "-0" else text).replace("-", "−") + "\u00a0%"


def points(difference: float | None) -> str:
    """A difference of shares: 0.19 → 19 points, so that nobody takes it for a ratio."""
    if difference is None or not math.isfinite(difference):
        return "–"
    return percent(difference).replace("%", "points")


def duration(seconds: float | None) -> str:
    """0:41, 12:05, 1:02:00; under ten seconds with a tenth: 3.2 s."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def count(num: int, one: str, many: str = "") -> str:
    """1 prompt, 2 prompts, 1,240 prompts."""
    return f"{num:,} {one if num == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""


def shortened(text: str, length: int) -> str:
    """The beginning of a text, with an ellipsis where something was left out."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def interval_text(found: Mapping[str, Any] | None, form: Form = number) -> str:
    """`0.84 (0.61 to 1.07)` with as many decimals as the interval bears, or why there is none."""
    if not found or found.get("value") is None:
        return "–"
    value, low, high = found["value"], found.get("low"), found.get("high")
    if low is None or high is None:
        said = found.get("note") not in ("", None, "no variation")
        return f"{form(value)} ({found['note']})" if said else form(value)
    if low == high == value:
        return form(value)
    factor, unit = (1, "") if form is number else (100, "\u00a0" + form(1.0).rpartition("\u00a0")[2])
    decimals = decimals_for(factor * (high - low) / 2)
    shown = [rounded(factor * part, decimals) for part in (value, low, high)]
    return f"{shown[0]}{unit} ({shown[1]} to {shown[2]}{unit})"


def best_value(found: Mapping[str, Any], form: Form = number) -> str:
    """The value alone, with as many decimals as its interval bears."""
    if found.get("value") is None:
        return "–"
    return interval_text(found, form).partition(" (")[0]


def excludes_zero(found: Mapping[str, Any] | None) -> bool:
    """True when the interval has zero outside: a difference was found."""
    low, high = (found or {}).get("low"), (found or {}).get("high")
    return low is not None and high is not None and (low > 0 or high < 0)


def difference_text(found: Mapping[str, Any], form: Form = number) -> str:
    """`0.84 higher`, `no difference found (could have seen 0.08)`, or why nothing can be said."""
    low, high = found.get("low"), found.get("high")
    if low is None or high is None:
        if found.get("note") == "no variation":
            return "the same difference on every prompt" if found.get("value") else "equal on every prompt"
        return found.get("note") or "no interval"
    if excludes_zero(found):
        size = best_value({**found, "value": abs(found["value"])}, form)
        return f"{size} {'higher' if found['value'] > 0 else 'lower'}"
    seen = POWER_FACTOR * (high - low) / 2
    return f"no difference found (could have seen {form(seen) if form is not number else number(seen, 2)})"


@dataclass(frozen=True)
class Course:
    """How a curve went: where it began and ended (means of a tenth of the steps), and whether that is a change."""

    start: float
    end: float
    peak_x: float
    """Where a running mean is highest."""
    moved: int
    """+1 rises, −1 falls, 0 within its own noise."""
    fell_back: bool
    """True when the end lies below the peak by more than noise and the peak is not near the end."""

    @property
    def verb(self) -> str:
        """rises, falls or stays."""
        return {1: "rises", -1: "falls", 0: "stays"}[self.moved]


def course(xs: Sequence[float], ys: Sequence[float]) -> Course | None:
    """Read a curve: None with fewer than two finite points.

    Noise is the spread of successive differences / √2, so that a trend does not count as noise.
    """
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    if len(points) < 2:
        return None
    values = [y for _, y in points]
    width = max(1, len(values) // 10)
    start, end = sum(values[:width]) / width, sum(values[-width:]) / width
    steps = [b - a for a, b in pairwise(values)]
    middle = sum(steps) / len(steps)
    noise = math.sqrt(sum((step - middle) ** 2 for step in steps) / max(1, len(steps) - 1) / 2)
    needed = max(2.8 * noise / math.sqrt(width), 0.01 * max(abs(start), abs(end)), 1e-9)
    means = [
        sum(values[max(0, i - width) : i + 1]) / len(values[max(0, i - width) : i + 1]) for i in range(len(values))
    ]
    top = max(range(len(means)), key=means.__getitem__)
    fell_back = means[top] - end > needed and top < 0.8 * len(means)
    moved = 0 if abs(end - start) < needed else (1 if end > start else -1)
    return Course(start, end, points[top][0], moved, fell_back)


def course_sentence(what: str, found: Course | None, unit: str = "") -> str:
    """`Entropy falls from 2.1 to 0.9 nats per token`; `Entropy stays near 2.1 nats per token`."""
    tail = f" {unit}" if unit else ""
    if found is None:
        return f"{what}: too few steps to say"
    if found.moved == 0:
        return f"{what} stays near {number(found.end, 2)}{tail}"
    return f"{what} {found.verb} from {number(found.start, 2)} to {number(found.end, 2)}{tail}"


def or_nan(value: float | None) -> float:
    """JSON has null where a chart wants nan."""
    return math.nan if value is None else float(value)
