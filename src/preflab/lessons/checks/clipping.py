"""Exercise 4: the clipped objective for both signs of the advantage."""

from __future__ import annotations

from preflab.lessons.checks.verdict import Verdict, numbers_in

UP, DOWN = 2.4, -3.0
"""min(1.5 · 2, 1.2 · 2) and min(1.5 · −2, 1.2 · −2)."""


def check(answer: str) -> Verdict:
    """Compare with 2.4 and −3."""
    first, second = numbers_in(answer, 2)
    if _is(first, UP) and _is(second, DOWN):
        return Verdict(True, "min(3, 2.4) = 2.4 is clipped; min(−3, −2.4) = −3 is not, so the policy can come back.")
    if _is(first, 3.0):
        return Verdict(False, "1.5 · 2 = 3 is larger than 1.2 · 2; the minimum counts.")
    if _is(first, UP) and _is(second, -UP):
        return Verdict(False, "the first is right. Of −3 and −2.4 the minimum is −3: nothing is clipped there.")
    if _is(first, UP):
        return Verdict(False, "the first is right. For the second compare 1.5 · −2 with 1.2 · −2.")
    return Verdict(False, "compute ratio · A and clip(ratio, 0.8, 1.2) · A, and take the smaller one.")


def _is(value: float, other: float) -> bool:
    return abs(value - other) < 5e-3
