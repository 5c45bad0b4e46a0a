"""Kemeny's rule: the orders that contradict the weighted votes on pairs least, computed exactly, with all that tie.

An order's score is Σ margins[i, j] over all i above j. One dynamic programme over the 2^K sets of completions that can
be at the top gives the best score, the number of orders that reach it, and in how many of them i is above j (the
recursion is that of Betzler et al. 2009); the K! orders are never listed. If several orders are best, none of them is
picked, since the choice would be arbitrary.

Kemeny 1959; Young and Levenglick 1978 (the only rule that is neutral, consistent and a Condorcet rule).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preflab.errors import PreflabError

MAX_COMPLETIONS = 9
"""The search takes 2^K · K steps: about 5,000 for nine."""
SCALE = 10**9
"""Margins are multiplied by this and rounded to integers, so that equal scores compare as equal."""


@dataclass(frozen=True)
class KemenyOrders:
    """A summary of all orders with the best score."""

    score: float
    """Σ margins[i, j] over i above j, the same for every best order."""
    num_orders: int
    above: np.ndarray
    """(K, K) whole numbers: in how many best orders i is above j."""

    @property
    def agreed(self) -> np.ndarray:
        """(K, K) bool: i is above j in every best order."""
        agreed: np.ndarray = self.above == self.num_orders
        return agreed


def kemeny(margins: np.ndarray) -> KemenyOrders:
    """The best orders of K ≤ 9 completions.

    With S the set at the top and gain(S, i) = Σ_{j ∈ S} margins[j, i]:

        after(S) = max_{i ∉ S} gain(S, i) + after(S + i)      the most that the others can add, 0 for the whole set

    A step S → S + i belongs to a best order if it attains that maximum. Paths of such steps are counted from both ends,
    and i is above j in every path that passes through a set with i and without j.

    Args:
        margins: (K, K), antisymmetric; [i, j] > 0 favours i above j. Rounded to 9 decimals.

    Raises:
        PreflabError: more than nine completions, or margins that are not antisymmetric.

    Example:
        >>> kemeny(np.array([[0, -1, 1], [1, 0, 2], [-1, -2, 0]])).agreed.sum(axis=1)  # b, a, c
        array([1, 2, 0])
    """
    whole = _scale_margins(margins)
    num = len(whole)
    full = (1 << num) - 1
    steps = _list_steps(whole)
    after = _best_after(steps, full)
    from_top = [0] * (full + 1)
    to_end = [0] * (full + 1)
    from_top[0] = to_end[full] = 1
    best = [[(i, new) for i, new, gain in steps[top] if gain + after[new] == after[top]] for top in range(full + 1)]
    for top in range(full, -1, -1):
        to_end[top] += sum(to_end[new] for _, new in best[top])
    above = np.zeros((num, num), dtype=np.int64)
    for top in range(full):
        for i, new in best[top]:
            from_top[new] += from_top[top]
            paths = from_top[top] * to_end[new]
            above[[j for j in range(num) if top >> j & 1], i] += paths
    return KemenyOrders(after[0] / SCALE, to_end[0], above)


def _list_steps(whole: list[list[int]]) -> list[list[tuple[int, int, int]]]:
    """Set at the top (a bit mask) → its steps: (next completion, set including it, what the step adds to the score)."""
    num = len(whole)
    gains = [[0] * num]
    for top in range(1, 1 << num):
        lowest = (top & -top).bit_length() - 1
        without_lowest = gains[top & (top - 1)]
        gains.append([without_lowest[i] + whole[lowest][i] for i in range(num)])
    return [[(i, top | 1 << i, row[i]) for i in range(num) if not top >> i & 1] for top, row in enumerate(gains)]


def _best_after(steps: list[list[tuple[int, int, int]]], full: int) -> list[int]:
    """Set at the top → the most that the other completions can add to the score."""
    after = [0] * (full + 1)
    for top in range(full - 1, -1, -1):
        after[top] = max(gain + after[new] for _, new, gain in steps[top])
    return after


def _scale_margins(margins: np.ndarray) -> list[list[int]]:
    """The margins as whole numbers (`SCALE`), checked."""
    if len(margins) > MAX_COMPLETIONS:
        raise PreflabError(
            f"{len(margins)} completions to put in Kemeny's order",
            f"at most {MAX_COMPLETIONS}",
            "use `copeland_order` for longer lists",
        )
    whole = np.rint(np.asarray(margins, dtype=float) * SCALE).astype(np.int64)
    if whole.shape != (len(whole), len(whole)) or (whole != -whole.T).any():
        raise PreflabError(
            "margins that are not antisymmetric", "margins[i, j] = −margins[j, i]", "use votes for minus votes against"
        )
    rows: list[list[int]] = whole.tolist()
    return rows
