"""What the measures of an evaluation are called, how they are written and what colour they have."""

from __future__ import annotations

from preflab.report.words import Form, number, percent, points

NAMES = {
    "kl/exact": "KL to the reference, nats per completion",
    "length/tokens": "length, tokens",
    "length/words": "length, words",
    "repeat/share": "repeated 3-grams within a completion",
    "distinct/1": "distinct-1, different words / words",
    "distinct/2": "distinct-2, different word pairs / word pairs",
    "entropy/token": "entropy, nats per token",
    "finished/share": "ended by itself",
}
PREFIXES = {
    "judge/": "{} (judge)",
    "reward/": "{} (reward model)",
    "fail/": "F by {}",
    "label/": "{}",
}
ORDER = ("judge/", "fail/", "label/", "reward/", "kl/", "length/tokens", "length/", "repeat/", "distinct/", "entropy/")


def measure_name(measure: str) -> str:
    """`judge/gold` → gold (judge); `kl/exact` → KL to the reference, nats per completion."""
    for prefix, form in PREFIXES.items():
        if measure.startswith(prefix):
            return form.format(measure.removeprefix(prefix))
    return NAMES.get(measure, measure)


SHARES = ("fail/", "label/", "finished/", "repeat/")


def is_share(measure: str) -> bool:
    """Whether it is written in percent."""
    return measure.startswith(SHARES)


def measure_form(measure: str) -> Form:
    """Shares in percent, everything else as a number."""
    return percent if is_share(measure) else number


def difference_form(measure: str) -> Form:
    """Differences of shares in points, everything else as a number."""
    return points if is_share(measure) else number


def measure_title(measure: str) -> str:
    """The name at the start of a sentence: names that people gave keep their case."""
    name = measure_name(measure)
    return name[0].upper() + name[1:] if measure in NAMES else name


def measure_role(measure: str) -> str:
    """Green for judges and people, orange for learned rewards, blue for the rest."""
    if measure.startswith(("judge/", "fail/", "label/")):
        return "gold"
    return "reward" if measure.startswith("reward/") else "policy"


def measure_order(measure: str) -> tuple[int, str]:
    """Judges first, then F and classes, rewards, KL, length, variety."""
    place = next((index for index, prefix in enumerate(ORDER) if measure.startswith(prefix)), len(ORDER))
    return place, measure
