"""Whether an accuracy on pairs differs from chance, and a sentence that says so if it does not.

Guessing gives ½. With fewer than six independent pairs, even a result of all right or all wrong is not significant: a
guesser gets it with probability 1 / 2^(num − 1), which is 1/16 for five pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEWEST = 6
"""Fewest independent pairs that can exclude guessing at 95 %: 2 · ½⁶ = 0.031, but 2 · ½⁵ = 0.0625."""


def is_chance(share: Mapping[str, Any]) -> bool:
    """Whether the share does not differ significantly from ½.

    Args:
        share: `value`, `low` and `high` of a 95 % interval, `num` independent units. If all units have one value,
            there is no interval (None), and the value is used in its place.
    """
    if (share.get("num") or 0) < FEWEST:
        return True
    low, high = (share["value"] if share.get(side) is None else share[side] for side in ("low", "high"))
    return bool(low <= 0.5 <= high)


def describe_chance(share: Mapping[str, Any], pairs: str) -> str:
    """`no better than chance as far as 6 held-out pairs can tell`, `worse than chance on …`, or an empty text.

    Args:
        share: see `is_chance`.
        pairs: the pairs it was measured on, such as `6 held-out pairs`.
    """
    if is_chance(share):
        return f"no better than chance as far as {pairs} can tell"
    return f"worse than chance on {pairs}" if share["value"] < 0.5 else ""
