"""Exercise 5: the advantage of one token from two values."""

from __future__ import annotations

from preflab.lessons.checks.verdict import Verdict, numbers_in

BEFORE, AFTER = 0.34, 1.23


def check(answer: str) -> Verdict:
    """Compare with 0 + 1.23 − 0.34."""
    (value,) = numbers_in(answer, 1)
    if _is(value, AFTER - BEFORE):
        return Verdict(True, "0 + 1.23 − 0.34 = 0.89: with this token one expects 0.89 more than before it.")
    if _is(value, BEFORE - AFTER):
        return Verdict(False, "the value rises with this token, so its advantage is above 0.")
    if _is(value, 0.0):
        return Verdict(False, "its reward is 0; its advantage also counts how the value changes.")
    if _is(value, AFTER):
        return Verdict(False, "1.23 is the value after the token. Subtract what was expected before it.")
    return Verdict(False, "the advantage is the reward plus the value after the token minus the value before it.")


def _is(value: float, other: float) -> bool:
    return abs(value - other) < 5e-3
