"""Exercise 3: one estimate of the policy gradient without and with a baseline."""

from __future__ import annotations

from preflab.lessons.checks.verdict import Verdict, numbers_in

SHARE = 1 / 3
REWARD, MEAN = 12, 11


def check(answer: str) -> Verdict:
    """Compare with 12 · (1 − 1/3) and (12 − 11) · (1 − 1/3)."""
    plain, based = numbers_in(answer, 2)
    if _is(plain, REWARD * (1 - SHARE)) and _is(based, (REWARD - MEAN) * (1 - SHARE)):
        return Verdict(True, "12 · (1 − 1/3) = 8 without, and (12 − 11) · (1 − 1/3) = 0.67 with the baseline.")
    if _is(plain, REWARD) and _is(based, REWARD - MEAN):
        return Verdict(False, "these are the reward and the advantage; multiply them by 1 − π of the action.")
    if _is(plain, REWARD * SHARE):
        return Verdict(False, "the factor of the action that was played is 1 − π, not π.")
    if _is(plain, REWARD * (1 - SHARE)):
        return Verdict(False, "8 is right. The baseline is the mean of 10, 11 and 12; subtract it from the reward.")
    return Verdict(False, "multiply the reward by 1 − 1/3; then do the same with the reward minus the mean reward.")


def _is(value: float, other: float) -> bool:
    return abs(value - other) < 0.01
