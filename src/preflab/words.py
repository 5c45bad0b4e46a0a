"""Numbers and counted nouns as text for people, in the same form in the terminal, the report and the app.

JSON keeps plain numbers for programs. Text for people has a true minus sign (−), a no-break space before the per cent
sign, as many decimals as the interval justifies, and "1 row" but "2 rows".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

Form = Callable[[float | None], str]
"""A function that writes a value: `number`, `percent` or `points`."""
Figure = Mapping[str, Any]
"""A value with its interval, as in JSON: `value`, `low`, `high`, and `note` with the reason if there is no interval."""
POWER_FACTOR = (1.959964 + 0.841621) / 1.959964
"""Half the width of a 95 % interval times this is the difference that would be found with 80 % power."""
ALL_EQUAL = "no interval: all values are equal"
"""The note of a figure whose values are all equal, so that their spread says nothing about other prompts."""
MOST_P = 0.05
"""Largest p-value that counts as a finding."""
AMONG_SEVERAL = "not found among several measures (Holm)"
"""Of a difference whose own interval excludes zero and whose corrected p-value is above `MOST_P`."""
MOST_DECIMALS = 4
MOST_DECIMALS_OF_ENDS = 12
"""Of an interval whose ends would look equal with fewer: they differ by 1e-12 at least (`statistics`)."""
SHARED_DIGITS = 4
"""Significant digits of the largest number in a column: 41.00 beside 3.40, 4,100 beside 3."""


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits without trailing zeros: 0.0821, −1.24, 12, 1,240; – for None, nan or infinity."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -MOST_DECIMALS:
        return f"{value:.1e}".replace("-", "−")
    text = f"{value:,.{max(0, min(digits - 1 - size, MOST_DECIMALS))}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text.replace("-", "−")


def three_digits(value: float | None) -> str:
    """Three significant digits with trailing zeros, at most four decimals: 3.00, 0.500, 412."""
    if value is None or not math.isfinite(value):
        return "–"
    size = math.floor(math.log10(float(f"{abs(value):.2e}"))) if value else 0  # 9.996 rounds to 10.0
    if size < -MOST_DECIMALS:
        return number(value)
    return rounded(value, max(0, min(2 - size, MOST_DECIMALS)))


def rounded(value: float | None, decimals: int) -> str:
    """A number with this many decimals; never −0."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}"
    return (text.removeprefix("-") if float(text.replace(",", "")) == 0 else text).replace("-", "−")


def signed(value: float | None, decimals: int) -> str:
    """A number with this many decimals and its sign: +0.04, −0.83."""
    text = rounded(value, decimals)
    return text if text[0] in "−–" else f"+{text}"


def percent(share: float | None) -> str:
    """0.725 → 72.5 %, 0.004 → 0.4 %, 0.9 → 90 %, with a no-break space."""
    if share is None or not math.isfinite(share):
        return "–"
    return rounded(100 * share, 1).removesuffix(".0") + "\u00a0%"


def whole_percent(share: float | None) -> str:
    """0.725 → 72 %: for a share without a known interval."""
    return "–" if share is None or not math.isfinite(share) else f"{rounded(100 * share, 0)}\u00a0%"


def points(difference: float | None) -> str:
    """A difference between shares in percentage points: 0.19 → 19 points, which nobody takes for a ratio."""
    return percent(difference).replace("%", "points")


def duration(seconds: float | None) -> str:
    """0:41, 12:05, 1:02:00; below ten seconds with one decimal: 3.2 s."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def count(num: int, one: str, many: str = "") -> str:
    """A number and its noun: 1 prompt, 2 prompts, 1,240 prompts; `many` is the plural unless it is `one` + s."""
    return f"{num:,} {plural(num, one, many)}"


def plural(num: float, one: str, many: str = "") -> str:
    """The noun alone, in the form that follows `num`: prompt, prompts."""
    return one if num == 1 else many or one + "s"


def amount(value: float, one: str, many: str = "", digits: int = 2) -> str:
    """A measured quantity with its unit: 1 hour, 1.5 hours, 54 labels."""
    text = number(value, digits)
    return f"{text} {one if text == '1' else many or one + 's'}"


def hours_text(hours: float) -> str:
    """1.4 hours; below a tenth of an hour in minutes: 5 minutes; below a minute in seconds: 20 seconds."""
    if hours >= 0.1:
        return amount(hours, "hour")
    return amount(hours * 60, "minute") if hours * 60 >= 1 or not hours else amount(hours * 3600, "second")


def money(value: float, currency: str) -> str:
    """12.40 EUR; from 100 without decimals: 124 EUR."""
    return f"{rounded(value, 2 if value < 100 else 0)} {currency}"


def listed(words: Sequence[str]) -> str:
    """The words as a list in a sentence: a; a and b; a, b and c."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""


def shortened(text: str, length: int) -> str:
    """A text of at most `length` characters, with an ellipsis at the end if it was cut."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def or_nan(value: float | None) -> float:
    """The value as a float, nan for None: JSON has null where a chart needs nan."""
    return math.nan if value is None else float(value)


def decimals_for(width: float) -> int:
    """The decimals that an interval of this half-width justifies: 0.01 → 3, 0.16 → 2, 0.5 → 1, 5 → 0."""
    if not math.isfinite(width) or width <= 0:
        return 2
    return max(0, min(MOST_DECIMALS, -math.floor(math.log10(width / 4))))


def interval_text(figure: Figure | None, form: Form = number, decimals: int | None = None) -> str:
    """`0.84 (0.61 to 1.07)`; without an interval the value and the note that says why.

    Args:
        form: writes a single value.
        decimals: of all three numbers, e.g. to align a column; None: as many as the interval justifies.
    """
    if not figure or figure.get("value") is None:
        return "–"
    value, low, high = figure["value"], figure.get("low"), figure.get("high")
    if low is None or high is None:
        return _add_note(figure, _write_value(value, form, decimals))
    if low == high == value:
        return _write_value(value, form, decimals)
    factor, unit = _unit(form)
    if decimals is None:
        justified = _justified_decimals(figure, form)
        decimals = 2 if justified is None else justified
    decimals = _decimals_that_tell(figure, factor, decimals)
    shown = [rounded(factor * part, decimals) for part in (value, low, high)]
    return f"{shown[0]}{unit} ({shown[1]} to {shown[2]}{unit})"


def _decimals_that_tell(figure: Figure, factor: int, decimals: int) -> int:
    """At least `decimals`, and as many as it takes that the interval's ends look different and a finding not like 0."""
    value, low, high = (factor * figure[name] for name in ("value", "low", "high"))
    for more in range(decimals, MOST_DECIMALS_OF_ENDS):
        seen = value == 0 or not excludes_zero(figure) or float(f"{value:.{more}f}") != 0
        if seen and f"{low:.{more}f}" != f"{high:.{more}f}":
            return more
    return MOST_DECIMALS_OF_ENDS


def best_value(figure: Figure, form: Form = number) -> str:
    """The value without its interval, with as many decimals as the interval justifies."""
    if figure.get("value") is None:
        return "–"
    return interval_text(figure, form).partition(" (")[0]


def intervals(figures: Sequence[Figure | None], form: Form = number) -> list[str]:
    """The texts of figures shown together, all with the decimals that the narrowest interval justifies."""
    known = [figure for figure in figures if figure and figure.get("value") is not None]
    justified = [decimals for figure in known if (decimals := _justified_decimals(figure, form)) is not None]
    if not justified:
        written = iter(column([figure["value"] for figure in known], form))
        texts = {id(figure): next(written) for figure in known}
        return [_add_note(figure, texts[id(figure)]) if figure and id(figure) in texts else "–" for figure in figures]
    factor, _ = _unit(form)
    largest = max(abs(factor * part) for figure in known for part in _parts(figure))
    decimals = min(max(justified), _decimals_that_fit(largest))
    return [interval_text(figure, form, decimals) for figure in figures]


def column(values: Sequence[float | None], form: Form = number) -> list[str]:
    """The numbers of one column as texts with the same decimals, which give the median three significant digits.

    A number that is not 0 but would be shown as 0 keeps its own decimals.
    """
    factor, unit = _unit(form)
    known = [factor * value for value in values if value is not None and math.isfinite(value)]
    decimals = _shared_decimals(known) if form is number else int(any(abs(v - round(v)) >= 0.05 for v in known))
    return [_write_cell(value, factor, decimals, form) + (unit if _is_known(value) else "") for value in values]


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _write_cell(value: float | None, factor: int, decimals: int, form: Form) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    text = rounded(factor * value, decimals)
    hidden = value != 0 and form is number and not text.strip("−0.,")
    return number(value) if hidden else text


def _shared_decimals(values: Sequence[float]) -> int:
    sizes = [abs(value) for value in values if value != 0]
    if not sizes or all(float(value).is_integer() for value in values):
        return 0
    wanted = 2 - math.floor(math.log10(median(sizes)))
    return max(0, min(wanted, MOST_DECIMALS, _decimals_that_fit(max(sizes)) + 1))


def _decimals_that_fit(largest: float) -> int:
    """The decimals with which a number of this size has `SHARED_DIGITS` significant digits."""
    return max(0, SHARED_DIGITS - 1 - math.floor(math.log10(largest))) if largest > 0 else MOST_DECIMALS


def _parts(figure: Figure) -> list[float]:
    return [part for name in ("value", "low", "high") if (part := figure.get(name)) is not None]


def _justified_decimals(figure: Figure, form: Form) -> int | None:
    """The decimals that a figure's interval justifies; None without one. Shares: 0 from a half-width of one point."""
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None or low == high:
        return None
    factor, _ = _unit(form)
    half = factor * (high - low) / 2
    return decimals_for(half) if form is number else max(0, min(2, -math.floor(math.log10(half) + 1e-9)))


def _write_value(value: float, form: Form, decimals: int | None) -> str:
    if decimals is None:
        return form(value)
    factor, unit = _unit(form)
    return rounded(factor * value, decimals) + unit


def _add_note(figure: Figure, text: str) -> str:
    return f"{text} ({figure['note']})" if figure.get("note") else text


def _unit(form: Form) -> tuple[int, str]:
    """The factor that a value is multiplied by, and the unit written after it."""
    return (1, "") if form is number else (100, "\u00a0" + form(1.0).rpartition("\u00a0")[2])


def excludes_zero(figure: Figure | None) -> bool:
    """Whether the interval exists and excludes zero."""
    low, high = (figure or {}).get("low"), (figure or {}).get("high")
    return low is not None and high is not None and (low > 0 or high < 0)


def is_found(figure: Figure | None) -> bool:
    """Whether a difference was found: the interval excludes zero, without a `doubt`, and after Holm's correction."""
    known = figure or {}
    corrected = known.get("p_holm")
    return excludes_zero(figure) and not known.get("doubt") and (corrected is None or corrected <= MOST_P)


def p_text(p: float | None) -> str:
    """0.032, 0.41, or `below 0.001`; – for None."""
    return "below 0.001" if p is not None and p < 0.001 else number(p, 2)


def difference_text(figure: Figure, form: Form = number) -> str:
    """`0.84 higher`, `no difference found (could have seen 0.08)`, or the reason why neither can be said.

    `could have seen` is the smallest difference that would be found with 80 % power. A difference that is found by its
    own interval but not after the correction of its family is said to be that.
    """
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None:
        if figure.get("note") == ALL_EQUAL:
            return "the same difference on every prompt" if figure.get("value") else "equal on every prompt"
        return figure.get("note") or "no interval"
    if excludes_zero(figure):
        size = best_value({**figure, "value": abs(figure["value"])}, form)
        text = f"{size} {'higher' if figure['value'] > 0 else 'lower'}"
        return text if is_found(figure) else f"{text}, but {figure.get('doubt') or AMONG_SEVERAL}"
    seen = POWER_FACTOR * (high - low) / 2
    return f"no difference found (could have seen {form(seen) if form is not number else number(seen, 2)})"


def difference_sentence(figure: Figure, who: str, than: str, what: str, form: Form = number, over: str = "") -> str:
    """A difference as one sentence without a full stop, used in a run's table and at the top of its report.

    `over` says what the interval is over, such as ` over 3 training seeds`.

    Example:
        >>> difference_sentence({"value": 0.5, "low": 0.25, "high": 0.75}, "ppo", "sft", "gold (judge)")
        'ppo scores 0.50 higher than sft on gold (judge), 95\\xa0% interval 0.25 to 0.75'
    """
    text = difference_text(figure, form)
    if excludes_zero(figure):
        ends = interval_text(figure, form).partition("(")[2].rstrip(")")
        scores, _, doubt = text.partition(", but ")
        return f"{who} scores {scores} than {than} on {what}, 95\u00a0% interval {ends}{over}" + (
            doubt and f", but {doubt}"
        )
    if text.startswith("no difference found"):
        seen = text.removeprefix("no difference found")
        return f"no difference found between {who} and {than} on {what}{over}{seen}"
    return f"{who} and {than} on {what}{over}: {text}"
