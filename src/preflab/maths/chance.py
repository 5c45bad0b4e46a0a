"""Whether a share of pairs in the right order is more than chance would give, and the words where it is not.

Guessing gives ½. With fewer than six independent pairs even all of them right, or all wrong, proves nothing: that
happens to one guesser in 2^(num − 1), 1 of 16 with five.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEWEST = 6
"""Independent pairs from which a guesser is told apart at 95 %: 2 · ½⁶ = 0.031, and 2 · ½⁵ = 0.0625."""


def is_chance(share: Mapping[str, Any]) -> bool:
    """Whether ½ cannot be excluded.

    Args:
        share: `value`, `low` and `high` of a 95 % interval, `num` independent units. Where all units have one value
            there is no interval (None), and that value counts.
    """
    if (share.get("num") or 0) < FEWEST:
        return True
    low, high = (share["value"] if share.get(side) is None else share[side] for side in ("low", "high"))
    return bool(low <= 0.5 <= high)


def chance_said(share: Mapping[str, Any], pairs: str) -> str:
    """`no better than chance as far as 6 held-out pairs can tell`, `worse than chance`, or nothing.

    Args:
        share: see `is_chance`.
        pairs: what it was measured on, as `6 held-out pairs`.
    """
    if is_chance(share):
        return f"no better than chance as far as {pairs} can tell"
    return f"worse than chance on {pairs}" if share["value"] < 0.5 else ""
