"""What the measures of an evaluation are called, how they are written and what colour they have."""

from __future__ import annotations

from collections.abc import Callable

from preflab.report.words import number, percent

NAMES = {
    "kl/exact": "KL to the reference, nats per completion",
    "length/tokens": "length, tokens",
    "length/words": "length, words",
    "repeat/share": "repeated 3-grams within a completion",
    "distinct/1": "distinct-1 (different words / words)",
    "distinct/2": "distinct-2 (different word pairs / word pairs)",
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


def measure_form(measure: str) -> Callable[[float | None], str]:
    """Shares in percent, everything else as a number."""
    shares = ("fail/", "label/", "finished/", "repeat/")
    return percent if measure.startswith(shares) else number


def measure_role(measure: str) -> str:
    """Green for judges and people, orange for learned rewards, blue for the rest."""
    if measure.startswith(("judge/", "fail/", "label/")):
        return "gold"
    return "reward" if measure.startswith("reward/") else "policy"


def measure_order(measure: str) -> tuple[int, str]:
    """Judges first, then F and classes, rewards, KL, length, variety."""
    place = next((index for index, prefix in enumerate(ORDER) if measure.startswith(prefix)), len(ORDER))
    return place, measure
