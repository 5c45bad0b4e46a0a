"""Exercise 2: one update of an entry when the opponent moves next."""

from __future__ import annotations

from preflab.lessons.checks.verdict import Verdict, numbers_in

OLD, ALPHA, OF_OPPONENT = 0.5, 0.5, 0.2


def check(answer: str) -> Verdict:
    """Compare with 0.5 + 0.5 · (−0.2 − 0.5)."""
    (value,) = numbers_in(answer, 1)
    if _is(value, OLD + ALPHA * (-OF_OPPONENT - OLD)):
        return Verdict(True, "the target is −0.2, and half of the way from 0.5 to −0.2 is 0.15.")
    if _is(value, OLD + ALPHA * (OF_OPPONENT - OLD)):
        return Verdict(False, "0.2 is what the opponent expects; the target for us has the other sign.")
    if _is(value, -OF_OPPONENT):
        return Verdict(False, "−0.2 is the target. With α = 0.5 the entry goes half of the way to it.")
    return Verdict(False, "find the target first, then go half of the way from 0.5 to it.")


def _is(value: float, other: float) -> bool:
    return abs(value - other) < 5e-3
