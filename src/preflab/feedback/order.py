"""Orders the completions of one task by the margins of its pairs, and turns the settled pairs into ranks with ties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from preflab.feedback.kemeny import MAX_COMPLETIONS, kemeny

DECIMALS = 9
"""Votes are rounded to this many decimals, so that equal weights on both sides give a margin of exactly 0."""


@dataclass(frozen=True)
class Order:
    """The order that the margins give."""

    method: str
    """`kemeny` or `copeland`."""
    above: np.ndarray
    """(K, K) bool: i is above j, in every best order if there are several."""
    num_orders: int = 1
    """Number of best orders; 1 for Copeland, which has ties instead."""


OrderRule = Callable[[np.ndarray], Order]
"""Margins (K, K), antisymmetric → order."""


def best_order(margins: np.ndarray) -> Order:
    """Kemeny's order for up to nine completions (exact), Copeland's for more; `method` names the rule."""
    if len(margins) > MAX_COMPLETIONS:
        return copeland(margins)
    order = kemeny(margins)
    return Order("kemeny", order.agreed, order.num_orders)


def copeland(margins: np.ndarray) -> Order:
    """Copeland's order, which needs no search: for lists too long for Kemeny's rule."""
    ranks = np.array(copeland_order(margins), dtype=int)
    return Order("copeland", ranks[:, None] < ranks[None, :])


def copeland_order(margins: np.ndarray) -> list[int]:
    """Ranks by pairs won minus pairs lost, then by the sum of margins; completions equal in both are tied.

    Args:
        margins: (K, K), antisymmetric; [i, j] > 0 puts i above j.

    Example:
        >>> copeland_order(np.array([[0, -1, 1], [1, 0, 2], [-1, -2, 0]]))
        [2, 1, 3]
    """
    totals = np.round(margins.sum(axis=1), DECIMALS)
    keys = list(zip(np.sign(margins).sum(axis=1).tolist(), totals.tolist(), strict=True))
    return [1 + sum(other > key for other in keys) for key in keys]


def ranks_from_relation(above: np.ndarray) -> list[int]:
    """Ranks from 1 that claim no more than `above` does; completions tied, unsettled or in a cycle share a rank.

    A pair without a direction counts as both directions. Completions that reach each other share a rank, so one rank is
    better than another only if every completion of the one is above every completion of the other.

    Args:
        above: (K, K) bool, i is above j.
    """
    reaches = above | ~(above | above.T)
    for _ in range(max(1, len(above)).bit_length()):
        reaches = reaches | (reaches.astype(int) @ reaches.astype(int) > 0)
    strictly_above = reaches & ~reaches.T
    return [1 + int(num) for num in strictly_above.sum(axis=0)]
