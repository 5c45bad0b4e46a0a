"""Figures and counted things as a person reads them: the same digits and words in the terminal, the report and the app.

Machines read JSON, where a number is a number; everything that is written for people comes from here: a true minus sign
(−), per cent after a space that does not break, as many decimals as an interval bears, "1 row" and "2 rows".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

Form = Callable[[float | None], str]
"""How a value is written: `number`, `percent`, `points`."""
Found = Mapping[str, Any]
"""A figure with its interval as JSON has it: `value`, `low`, `high`, perhaps a `note` on why there is no interval."""
POWER_FACTOR = (1.959964 + 0.841621) / 1.959964
"""Half an interval's width times this is the difference that would be found with 80 % power."""
MOST_DECIMALS = 4
SHARED_DIGITS = 4
"""Significant digits of the largest number of a column: 41.00 beside 3.40, 4,100 beside 3."""


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits without idle zeros, a true minus sign: 0.0821, −1.24, 12, 1,240; a dash for nothing."""
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
    """A measured number with three significant digits, idle zeros too, and at most four decimals: 3.00, 0.500, 412."""
    if value is None or not math.isfinite(value):
        return "–"
    size = math.floor(math.log10(float(f"{abs(value):.2e}"))) if value else 0  # of 9.996 that of 10.0
    if size < -MOST_DECIMALS:
        return number(value)
    return rounded(value, max(0, min(2 - size, MOST_DECIMALS)))


def rounded(value: float | None, decimals: int) -> str:
    """A number with this many decimals, a true minus sign."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}"
    return (text.removeprefix("-") if float(text.replace(",", "")) == 0 else text).replace("-", "−")


def signed(value: float | None, decimals: int) -> str:
    """The same with its sign: +0.04, −0.83."""
    text = rounded(value, decimals)
    return text if text[0] in "−–" else f"+{text}"


def percent(share: float | None) -> str:
    """0.725 → 72.5 %, 0.004 → 0.4 %, 0.9 → 90 %; the space does not break."""
    if share is None or not math.isfinite(share):
        return "–"
    return rounded(100 * share, 1).removesuffix(".0") + "\u00a0%"


def whole_percent(share: float | None) -> str:
    """0.725 → 72 %: a share of which no interval is known."""
    return "–" if share is None or not math.isfinite(share) else f"{rounded(100 * share, 0)}\u00a0%"


def points(difference: float | None) -> str:
    """A difference of shares: 0.19 → 19 points, so that nobody takes it for a ratio."""
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
    return f"{num:,} {plural(num, one, many)}"


def plural(num: float, one: str, many: str = "") -> str:
    """The word alone as it stands after a number: prompt, prompts."""
    return one if num == 1 else many or one + "s"


def amount(value: float, one: str, many: str = "", digits: int = 2) -> str:
    """A measured quantity with its unit: 1 hour, 1.5 hours, 54 labels."""
    text = number(value, digits)
    return f"{text} {one if text == '1' else many or one + 's'}"


def hours_text(hours: float) -> str:
    """1.4 hours; minutes where there are few."""
    return amount(hours, "hour") if hours >= 0.1 else amount(hours * 60, "minute")


def money(value: float, currency: str) -> str:
    """12.40 EUR; cents below 100 only."""
    return f"{rounded(value, 2 if value < 100 else 0)} {currency}"


def listed(words: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""


def shortened(text: str, length: int) -> str:
    """The beginning of a text, with an ellipsis where something was left out."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def or_nan(value: float | None) -> float:
    """JSON has null where a chart wants nan."""
    return math.nan if value is None else float(value)


def decimals_for(width: float) -> int:
    """Decimals that an interval of this half width bears: 0.01 → 3, 0.16 → 2, 0.5 → 1, 5 → 0."""
    if not math.isfinite(width) or width <= 0:
        return 2
    return max(0, min(MOST_DECIMALS, -math.floor(math.log10(width / 4))))


def interval_text(found: Found | None, form: Form = number, decimals: int | None = None) -> str:
    """`0.84 (0.61 to 1.07)` with as many decimals as the interval bears, or why there is none.

    Args:
        form: how a value alone is written.
        decimals: those of a column, where several figures stand below one another.
    """
    if not found or found.get("value") is None:
        return "–"
    value, low, high = found["value"], found.get("low"), found.get("high")
    if low is None or high is None:
        with_note = found.get("note") not in ("", None, "no variation")
        text = _written(value, form, decimals)
        return f"{text} ({found['note']})" if with_note else text
    if low == high == value:
        return _written(value, form, decimals)
    factor, unit = _unit(form)
    if decimals is None:
        borne = _borne(found, form)
        decimals = 2 if borne is None else borne
    shown = [rounded(factor * part, decimals) for part in (value, low, high)]
    return f"{shown[0]}{unit} ({shown[1]} to {shown[2]}{unit})"


def best_value(found: Found, form: Form = number) -> str:
    """The value alone, with as many decimals as its interval bears."""
    if found.get("value") is None:
        return "–"
    return interval_text(found, form).partition(" (")[0]


def intervals(figures: Sequence[Found | None], form: Form = number) -> list[str]:
    """Several figures that stand together, all with the decimals that the narrowest interval bears."""
    known = [figure for figure in figures if figure and figure.get("value") is not None]
    borne = [decimals for figure in known if (decimals := _borne(figure, form)) is not None]
    if not borne:
        written = iter(column([figure["value"] for figure in known], form))
        texts = {id(figure): next(written) for figure in known}
        return [_noted(figure, texts[id(figure)]) if figure and id(figure) in texts else "–" for figure in figures]
    factor, _ = _unit(form)
    largest = max(abs(factor * part) for figure in known for part in _parts(figure))
    decimals = min(max(borne), _room(largest))
    return [interval_text(figure, form, decimals) for figure in figures]


def column(values: Sequence[float | None], form: Form = number) -> list[str]:
    """Numbers that stand below one another: as many decimals for each as give most of them three digits.

    A number that these would show as 0, and is not, keeps digits of its own.
    """
    factor, unit = _unit(form)
    known = [factor * value for value in values if value is not None and math.isfinite(value)]
    decimals = _shared_decimals(known) if form is number else int(any(abs(v - round(v)) >= 0.05 for v in known))
    return [_shared(value, factor, decimals, form) + (unit if _is_known(value) else "") for value in values]


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _shared(value: float | None, factor: int, decimals: int, form: Form) -> str:
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
    return max(0, min(wanted, MOST_DECIMALS, _room(max(sizes)) + 1))


def _room(largest: float) -> int:
    """Decimals left to a number of this size within the digits that a column may have."""
    return max(0, SHARED_DIGITS - 1 - math.floor(math.log10(largest))) if largest > 0 else MOST_DECIMALS


def _parts(found: Found) -> list[float]:
    return [part for name in ("value", "low", "high") if (part := found.get(name)) is not None]


def _borne(found: Found, form: Form) -> int | None:
    """The decimals of a figure by its interval; None without one. A share has none from one point on."""
    low, high = found.get("low"), found.get("high")
    if low is None or high is None or low == high:
        return None
    factor, _ = _unit(form)
    half = factor * (high - low) / 2
    return decimals_for(half) if form is number else max(0, min(2, -math.floor(math.log10(half) + 1e-9)))


def _written(value: float, form: Form, decimals: int | None) -> str:
    if decimals is None:
        return form(value)
    factor, unit = _unit(form)
    return rounded(factor * value, decimals) + unit


def _noted(found: Found, text: str) -> str:
    return f"{text} ({found['note']})" if found.get("note") not in ("", None, "no variation") else text


def _unit(form: Form) -> tuple[int, str]:
    """By how much a value is multiplied, and what stands after it."""
    return (1, "") if form is number else (100, "\u00a0" + form(1.0).rpartition("\u00a0")[2])


def excludes_zero(found: Found | None) -> bool:
    """True when the interval has zero outside: a difference was found."""
    low, high = (found or {}).get("low"), (found or {}).get("high")
    return low is not None and high is not None and (low > 0 or high < 0)


def difference_text(found: Found, form: Form = number) -> str:
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


def difference_sentence(found: Found, who: str, than: str, what: str, form: Form = number) -> str:
    """A difference as one sentence without its end: the same in the table of a run and at the top of its report.

    Example:
        >>> difference_sentence({"value": 0.5, "low": 0.25, "high": 0.75}, "ppo", "sft", "gold (judge)")
        'ppo scores 0.50 higher than sft on gold (judge), 95\\xa0% interval 0.25 to 0.75'
    """
    text = difference_text(found, form)
    if excludes_zero(found):
        ends = interval_text(found, form).partition("(")[2].rstrip(")")
        return f"{who} scores {text} than {than} on {what}, 95\u00a0% interval {ends}"
    if text.startswith("no difference found"):
        return f"no difference found between {who} and {than} on {what}{text.removeprefix('no difference found')}"
    return f"{who} and {than} on {what}: {text}"
