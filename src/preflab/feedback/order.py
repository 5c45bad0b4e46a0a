"""From margins to an order of one task's completions, and from what is settled of it to ranks with ties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from preflab.feedback.kemeny import MAX_COMPLETIONS, kemeny

DECIMALS = 9
"""Votes are rounded to this many decimals, so that equal weights on both sides give a margin of exactly 0."""


@dataclass(frozen=True)
class Order:
    """What the margins say about the order."""

    method: str
    """`kemeny` or `copeland`."""
    above: np.ndarray
    """(K, K) bool: i stands above j, in every best order if there are several."""
    num_orders: int = 1
    """Best orders; 1 for Copeland, which has ties instead."""


OrderRule = Callable[[np.ndarray], Order]
"""Margins (K, K), antisymmetric → order."""


def best_order(margins: np.ndarray) -> Order:
    """Kemeny's order, exact up to nine completions; Copeland's beyond, and `method` says so."""
    if len(margins) > MAX_COMPLETIONS:
        return copeland(margins)
    order = kemeny(margins)
    return Order("kemeny", order.agreed, order.num_orders)


def copeland(margins: np.ndarray) -> Order:
    """Copeland's order: a rule without a search, for lists too long for Kemeny's."""
    ranks = np.array(copeland_order(margins), dtype=int)
    return Order("copeland", ranks[:, None] < ranks[None, :])


def copeland_order(margins: np.ndarray) -> list[int]:
    """Ranks by pairs won minus pairs lost, then by the sum of margins; equal in both = tie.

    Args:
        margins: (K, K), antisymmetric; [i, j] > 0 puts i above j.

    Example:
        >>> copeland_order(np.array([[0, -1, 1], [1, 0, 2], [-1, -2, 0]]))
        [2, 1, 3]
    """
    totals = np.round(margins.sum(axis=1), DECIMALS)
    keys = list(zip(np.sign(margins).sum(axis=1).tolist(), totals.tolist(), strict=True))
    return [1 + sum(other > key for other in keys) for key in keys]


def ranks_of(above: np.ndarray) -> list[int]:
    """Ranks from 1 that claim no more than `above` does: equal = tied, not settled, or in a circle.

    A pair without a direction is taken as both ways. Whoever can be reached in both directions shares a rank, so a rank
    is lower than another only where the relation says so, for each completion of the one against each of the other.

    Args:
        above: (K, K) bool, i stands above j.
    """
    reaches = above | ~(above | above.T)
    for _ in range(max(1, len(above)).bit_length()):
        reaches = reaches | (reaches.astype(int) @ reaches.astype(int) > 0)
    strictly_above = reaches & ~reaches.T
    return [1 + int(num) for num in strictly_above.sum(axis=0)]
