"""Charts as SVG drawn on the server: lines with bands, bars, dots with whiskers, scatter, calibration.

Charts are 400 units wide, so that they fit a phone at nearly their natural size and a desktop shows two side by side.
Colours are classes (`reference`, `policy`, `gold`, `reward`, `alarm`, …) that the style sheet defines for light and
dark. Lines are labelled at their end, without a legend; marks have a `<title>`; the table below has the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from preflab.report.chart_scales import Scale, data_range, log_range, pick_evenly, spread_labels, tick_text
from preflab.words import number, shortened

WIDTH, HEIGHT = 400, 236
TOP, BOTTOM, RIGHT = 30, 36, 16
LETTER = 6.6
"""Approximate width of a letter in a label, in units."""
MOST_MARKS = 60
"""Most points of a curve that show their value on hover."""


@dataclass(frozen=True)
class Line:
    """A curve; a value of nan leaves a gap. `low` and `high` are the edges of a band."""

    label: str
    role: str
    xs: Sequence[float]
    ys: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: bool = False
    """Draw separate points with whiskers instead of a curve with a band."""


@dataclass(frozen=True)
class Rule:
    """A line at a value to compare with: a budget, a baseline, a human ceiling."""

    value: float
    label: str
    role: str = "reference"
    until: float | None = None
    """If set, the range from `value` to `until` is shaded instead."""


@dataclass(frozen=True)
class Bar:
    """A bar, or a dot with whiskers, with its label on the left and its number on the right."""

    label: str
    value: float
    role: str
    low: float = math.nan
    high: float = math.nan
    text: str = ""
    """Text on the right; "" shows the value."""


@dataclass(frozen=True)
class Frame:
    """The drawing area: two scales that map values to coordinates, and the SVG parts drawn so far."""

    x: Scale
    y: Scale
    height: int = HEIGHT
    parts: list[Markup] = field(default_factory=list)

    def add(self, template: str, *values: object) -> None:
        """Append SVG with every value escaped and floats rounded to one decimal."""
        shown = [f"{value:.1f}" if isinstance(value, float) else value for value in values]
        self.parts.append(Markup(template).format(*shown))

    def svg(self, description: str) -> Markup:
        """The whole chart; `description` is read by screen readers."""
        head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, self.height, description
        )
        return head + Markup("").join(self.parts) + Markup("</svg>")


def line_chart(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    rules: Sequence[Rule] = (),
    zero: bool = False,
    log: bool = False,
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    diagonal: str = "",
    description: str = "",
) -> Markup:
    """Curves on common axes, as SVG.

    Args:
        x, y: names of the axes, with units.
        rules: horizontal lines.
        zero: the y axis includes 0.
        log: the y axis is logarithmic, and its name says so; values of 0 or less, or far below the rest, are drawn on
            its lower edge.
        y_range, x_range: fixed ranges instead of the data's.
        diagonal: label of a line from corner to corner (calibration); "" for none.
        description: text for screen readers; "" for a default.
    """
    frame = _frame(lines, rules, _vertical(lines, rules, zero, log, y_range), x_range)
    y = f"{y}, logarithmic" if log else y
    _axes(frame, x, y)
    for rule in rules:
        _rule(frame, rule)
    if diagonal:
        _diagonal(frame, diagonal)
    for line in lines:
        _band(frame, line)
    for line in lines:
        _dots(frame, line, x) if line.dots else _curve(frame, line, x)
    for rule in rules:
        _rule_label(frame, rule)
    _end_labels(frame, lines)
    return frame.svg(description or f"{y} over {x}: {', '.join(line.label for line in lines)}")


def _vertical(
    lines: Sequence[Line], rules: Sequence[Rule], zero: bool, log: bool, y_range: tuple[float, float] | None
) -> Scale:
    """The y axis, wide enough for the lines, their bands and the rules."""
    drawn = [value for line in lines for value in (*line.ys, *line.low, *line.high)]
    ys = drawn + [value for rule in rules for value in (rule.value, rule.until) if value is not None]
    if log:
        low, high = log_range(ys)
        return Scale(low, high, HEIGHT - BOTTOM, TOP, log=True, below=any(value < low for value in drawn))
    low, high, step = (*y_range, 0.0) if y_range else data_range(ys, zero=zero)
    return Scale(low, high, HEIGHT - BOTTOM, TOP, step)


def _frame(lines: Sequence[Line], rules: Sequence[Rule], vertical: Scale, x_range: tuple[float, float] | None) -> Frame:
    xs = [value for line in lines for value in line.xs]
    left, right = x_range or (min(xs, default=0.0), max(xs, default=1.0))
    longest = max((len(line.label) for line in lines), default=0)
    margin = RIGHT if longest == 0 else min(RIGHT + LETTER * min(longest, 18), 0.3 * WIDTH)
    numbers = max(len(vertical.text(tick)) for tick in vertical.ticks)
    horizontal = Scale(left, right if right > left else left + 1, 12 + 7.4 * numbers, WIDTH - margin)
    return Frame(horizontal, vertical)


def _axes(frame: Frame, x: str, y: str) -> None:
    for tick in frame.y.ticks:
        place = frame.y(tick)
        frame.add('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', frame.x.start, frame.x.end, place, place)
        frame.add('<text class="tick end" x="{}" y="{}">{}</text>', frame.x.start - 6, place + 4, frame.y.text(tick))
    base = frame.y.start
    for tick in frame.x.ticks:
        place = frame.x(tick)
        frame.add('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', place, place, base, base + 4)
        frame.add('<text class="tick middle" x="{}" y="{}">{}</text>', place, base + 16, frame.x.text(tick))
    frame.add('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', frame.x.start, frame.x.end, base, base)
    frame.add('<text class="name" x="{}" y="{}">{}</text>', 2, 14, y)
    frame.add('<text class="name end" x="{}" y="{}">{}</text>', frame.x.end, base + 31, x)


def _rule(frame: Frame, rule: Rule) -> None:
    place = frame.y(rule.value)
    if rule.until is not None:
        other = frame.y(rule.until)
        top, tall = min(place, other), abs(place - other)
        frame.add(
            '<rect class="band {}" x="{}" width="{}" y="{}" height="{}"/>',
            rule.role, frame.x.start, frame.x.end - frame.x.start, top, tall,
        )  # fmt: skip
    else:
        frame.add(
            '<line class="rule {}" x1="{}" x2="{}" y1="{}" y2="{}"/>',
            rule.role,
            frame.x.start,
            frame.x.end,
            place,
            place,
        )


def _rule_label(frame: Frame, rule: Rule) -> None:
    """Draw the label above the rule; below it if there is no room, or inside a shaded range."""
    place = min(frame.y(rule.value), frame.y(rule.value if rule.until is None else rule.until))
    below = place + 13 if place - 5 < TOP + 6 or rule.until is not None else place - 5
    frame.add('<text class="note {}" x="{}" y="{}">{}</text>', rule.role, frame.x.start + 5, below, rule.label)


def _diagonal(frame: Frame, label: str) -> None:
    low, high = max(frame.x.low, frame.y.low), min(frame.x.high, frame.y.high)
    frame.add(
        '<line class="rule reference" x1="{}" y1="{}" x2="{}" y2="{}"/>',
        frame.x(low), frame.y(low), frame.x(high), frame.y(high),
    )  # fmt: skip
    middle = low + 0.72 * (high - low)
    frame.add('<text class="note reference end" x="{}" y="{}">{}</text>', frame.x(middle) - 8, frame.y(middle), label)


def _stretches(line: Line) -> list[list[int]]:
    """The indices of finite values, split where a nan interrupts them."""
    runs: list[list[int]] = [[]]
    for index, value in enumerate(line.ys):
        if math.isfinite(value):
            runs[-1].append(index)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _path(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)


def _band(frame: Frame, line: Line) -> None:
    if not line.low or line.dots:
        return
    for run in _stretches(line):
        known = [i for i in run if math.isfinite(line.low[i]) and math.isfinite(line.high[i])]
        if len(known) > 1:
            around = [(line.xs[i], line.high[i]) for i in known] + [(line.xs[i], line.low[i]) for i in reversed(known)]
            frame.add('<path class="band {}" d="{}Z"/>', line.role, _path(frame, around))


def _curve(frame: Frame, line: Line, x: str) -> None:
    for run in _stretches(line):
        if len(run) > 1:
            frame.add(
                '<path class="line {}" d="{}"/>', line.role, _path(frame, [(line.xs[i], line.ys[i]) for i in run])
            )
        else:
            frame.add('<circle class="dot {}" cx="{}" cy="{}" r="2.5"/>', line.role, *_at(frame, line, run[0]))
    for i in pick_evenly(len(line.ys), MOST_MARKS):
        if math.isfinite(line.ys[i]):
            frame.add(
                '<circle class="touch" cx="{}" cy="{}" r="5"><title>{}</title></circle>',
                *_at(frame, line, i), f"{line.label or 'value'}: {number(line.ys[i])} at {x} {number(line.xs[i])}",
            )  # fmt: skip


def _at(frame: Frame, line: Line, i: int) -> tuple[float, float]:
    return float(frame.x(line.xs[i])), float(frame.y(line.ys[i]))


def _dots(frame: Frame, line: Line, x: str) -> None:
    for i, value in enumerate(line.ys):
        if not math.isfinite(value):
            continue
        across, up = _at(frame, line, i)
        title = f"{line.label or 'value'}: {number(value)} at {x} {number(line.xs[i])}"
        if line.low and math.isfinite(line.low[i]) and math.isfinite(line.high[i]):
            frame.add(
                '<line class="whisker {}" x1="{}" x2="{}" y1="{}" y2="{}"/>',
                line.role, across, across, float(frame.y(line.low[i])), float(frame.y(line.high[i])),
            )  # fmt: skip
            title += f" ({number(line.low[i])} to {number(line.high[i])})"
        frame.add(
            '<circle class="dot {}" cx="{}" cy="{}" r="4"><title>{}</title></circle>', line.role, across, up, title
        )


def _end_labels(frame: Frame, lines: Sequence[Line]) -> None:
    ends = [(line, run[-1][-1]) for line in lines if line.label and (run := _stretches(line))]
    wanted = [float(frame.y(line.ys[i])) for line, i in ends]
    for (line, i), place in zip(ends, spread_labels(wanted, 15, TOP, HEIGHT - BOTTOM), strict=True):
        across = min(float(frame.x(line.xs[i])) + 7, frame.x.end + 7)
        frame.add(
            '<text class="label {}" x="{}" y="{}">{}</text>', line.role, across, place + 4, shortened(line.label, 18)
        )


def bar_chart(
    bars: Sequence[Bar],
    *,
    x: str,
    dots: bool = False,
    x_range: tuple[float, float] | None = None,
    rules: Sequence[Rule] = (),
    percent: bool = False,
    description: str = "",
) -> Markup:
    """Horizontal bars that begin at 0, as SVG.

    Args:
        x: name of the axis, with its unit.
        dots: draw points with whiskers instead of bars, for quantities without a meaningful zero.
        x_range: a fixed range instead of the data's; the data's range includes 0 unless `dots` is set.
        rules: vertical lines.
        percent: the axis is written in percent.
        description: text for screen readers; "" for a default.
    """
    row, foot = 28, 44
    height = TOP + row * len(bars) + foot
    left = min(24 + LETTER * max((min(len(bar.label), 24) for bar in bars), default=4), 0.42 * WIDTH)
    texts = [bar.text or number(bar.value) for bar in bars]
    right = WIDTH - min(14 + LETTER * max((len(text) for text in texts), default=4), 0.34 * WIDTH)
    values = [value for bar in bars for value in (bar.value, bar.low, bar.high)] + [rule.value for rule in rules]
    low, high, step = (*x_range, 0.0) if x_range else data_range(values, zero=not dots)
    frame = Frame(Scale(low, high, left, right, step), Scale(0, 1, TOP, height - foot), height)
    _bar_axis(frame, x, rules, percent, zero=not dots)
    for i, (bar, text) in enumerate(zip(bars, texts, strict=True)):
        _bar(frame, bar, text, TOP + row * (i + 0.5), dots)
    return frame.svg(description or f"{x}: " + ", ".join(f"{bar.label} {number(bar.value)}" for bar in bars))


def _bar_axis(frame: Frame, x: str, rules: Sequence[Rule], percent: bool, zero: bool) -> None:
    """Draw ticks, the axis name and the rules; the line at 0 is stronger if bars begin there (`zero`)."""
    step, base = frame.x.between, frame.height - 44
    room = 1 if abs(frame.x.end - frame.x.start) > 36 * len(frame.x.ticks) else 2
    for tick in frame.x.ticks[::room]:
        place = frame.x(tick)
        mark = "axis" if zero and abs(tick) < step * 1e-6 else "grid"
        frame.add('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>', mark, place, place, TOP - 4, base)
        text = tick_text(100 * tick, 100 * step) + "\u00a0%" if percent else tick_text(tick, step)
        frame.add('<text class="tick middle" x="{}" y="{}">{}</text>', place, base + 16, text)
    frame.add('<text class="name middle" x="{}" y="{}">{}</text>', (frame.x.start + frame.x.end) / 2, base + 34, x)
    for rule in rules:
        place = frame.x(rule.value)
        if rule.until is not None:
            wide = frame.x(rule.until) - place
            frame.add(
                '<rect class="band {}" x="{}" width="{}" y="{}" height="{}"/>', rule.role, place, wide, TOP - 4,
                base - TOP + 4,
            )  # fmt: skip
            place += wide / 2
        else:
            frame.add('<line class="rule {}" x1="{}" x2="{}" y1="{}" y2="{}"/>', rule.role, place, place, TOP - 4, base)
        frame.add('<text class="note middle {}" x="{}" y="{}">{}</text>', rule.role, place, TOP - 10, rule.label)


def _bar(frame: Frame, bar: Bar, text: str, middle: float, dots: bool) -> None:
    zero, end = float(frame.x(max(0.0, frame.x.low))), float(frame.x(bar.value))
    title = Markup("<title>{}</title>").format(f"{bar.label}: {text}")
    frame.add('<text class="label end" x="{}" y="{}">{}</text>', frame.x.start - 10, middle + 4,
              shortened(bar.label, 26))  # fmt: skip
    if not dots:
        frame.add(
            '<rect class="bar {}" x="{}" width="{}" y="{}" height="16" rx="2">{}</rect>',
            bar.role, min(zero, end), max(abs(end - zero), 1.0), middle - 8, title,
        )  # fmt: skip
    if math.isfinite(bar.low) and math.isfinite(bar.high):
        frame.add(
            '<line class="whisker {}" x1="{}" x2="{}" y1="{}" y2="{}"/>',
            bar.role if dots else "ink", float(frame.x(bar.low)), float(frame.x(bar.high)), middle, middle,
        )  # fmt: skip
    if dots:
        frame.add('<circle class="dot {}" cx="{}" cy="{}" r="5">{}</circle>', bar.role, end, middle, title)
    frame.add('<text class="value" x="{}" y="{}">{}</text>', frame.x.end + 10, middle + 4, text)


def largest_weight(weights: Sequence[float]) -> float:
    """The largest finite |weight|; 1 if there is none or all are 0."""
    return max((abs(weight) for weight in weights if math.isfinite(weight)), default=0.0) or 1.0


def token_strip(tokens: Sequence[str], weights: Sequence[float], what: str, *, largest: float | None = None) -> Markup:
    """A text as HTML with each token shaded by max(0, weight) / largest.

    Args:
        tokens: texts of the tokens, which join to the text.
        weights: a number per token; one that is not finite is not shown.
        what: name of the weight.
        largest: weight of the darkest shade; None: the largest |weight| of these tokens.
    """
    top = largest_weight(weights) if largest is None else largest
    spans = [
        Markup('<span class="token" style="--share:{}" title="{}">{}</span>').format(
            f"{min(1.0, max(0.0, weight / top)):.2f}", f"{what} {number(weight)}", token
        )
        if math.isfinite(weight)
        else escape(token)
        for token, weight in zip(tokens, weights, strict=False)
    ]
    return Markup("").join(spans) + escape("".join(tokens[len(spans) :]))
