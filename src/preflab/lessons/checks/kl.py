"""Exercise 8: how far PPO goes from the reference when each nat costs 10."""

from __future__ import annotations

from preflab.lessons.checks.verdict import Verdict, numbers_in

MOST = 0.3
"""Nats."""


def check(answer: str) -> Verdict:
    """Compare with the KL that was measured."""
    (nats,) = numbers_in(answer, 1)
    if nats < 0:
        return Verdict(False, "the exact KL is never negative. Is this the mean of log-ratios, or a reward?")
    if nats > MOST:
        return Verdict(
            False, f"{nats:g} nats at a price of 10 each would cost {10 * nats:g}, more than any reward here can pay."
        )
    return Verdict(
        True,
        "nearly none: a nat costs 10, and no completion earns so much. The reward stays where the assistant's was. Too "
        "much KL penalty means that nothing changes.",
    )
