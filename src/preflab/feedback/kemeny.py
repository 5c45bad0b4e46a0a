"""Kemeny's order: the one that contradicts the weighted votes on pairs least; exact, and with all that tie for it.

An order's score is Σ margins[i, j] over all i above j. The best score, how many orders reach it, and in how many of
them i stands above j, come from one dynamic programme over the 2^K sets that can stand at the top (the recursion is
Betzler et al. 2009's); the K! orders are never listed. No one of several best orders is picked: that would be a coin.

Kemeny 1959; Young and Levenglick 1978 (the only rule that is neutral, consistent and a Condorcet rule).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preflab.errors import PreflabError

MAX_COMPLETIONS = 9
"""2^K · K steps: about 5,000 for nine."""
SCALE = 10**9
"""Margins are whole numbers of this fraction, so that equal scores are equal."""


@dataclass(frozen=True)
class KemenyOrders:
    """All orders with the best score, summed up."""

    score: float
    """Σ margins[i, j] over i above j, the same for each of them."""
    num_orders: int
    above: np.ndarray
    """(K, K) whole numbers: in how many of them i stands above j."""

    @property
    def agreed(self) -> np.ndarray:
        """(K, K) bool: i stands above j in every one of them."""
        agreed: np.ndarray = self.above == self.num_orders
        return agreed

    @property
    def differ(self) -> list[tuple[int, int]]:
        """The pairs (i, j), i < j, on which they differ."""
        rows, columns = np.nonzero(np.triu((self.above > 0) & (self.above.T > 0), 1))
        return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True)]


def kemeny(margins: np.ndarray) -> KemenyOrders:
    """The best orders of K ≤ 9 completions.

    With S a set standing at the top and gain(S, i) = Σ_{j ∈ S} margins[j, i]:

        after(S) = max_{i ∉ S} gain(S, i) + after(S + i)      what the rest can still add, 0 for the whole set

    A step S → S + i is on a best order if it keeps the maximum from there to the whole set; paths of such steps are
    counted from both ends, and i stands above j in every path that goes through a set with i and without j.

    Args:
        margins: (K, K), antisymmetric; [i, j] > 0 speaks for i above j. Rounded to 9 decimals.

    Raises:
        PreflabError: more than nine completions, or margins that are not antisymmetric.

    Example:
        >>> kemeny(np.array([[0, -1, 1], [1, 0, 2], [-1, -2, 0]])).agreed.sum(axis=1)  # b, a, c
        array([1, 2, 0])
    """
    whole = _checked(margins)
    num = len(whole)
    full = (1 << num) - 1
    steps = _steps(whole)
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


def _steps(whole: list[list[int]]) -> list[list[tuple[int, int, int]]]:
    """Set at the top → (who comes next, the set with it, what that adds to the score)."""
    num = len(whole)
    gains = [[0] * num]
    for top in range(1, 1 << num):
        lowest = (top & -top).bit_length() - 1
        rest = gains[top & (top - 1)]
        gains.append([rest[i] + whole[lowest][i] for i in range(num)])
    return [[(i, top | 1 << i, row[i]) for i in range(num) if not top >> i & 1] for top, row in enumerate(gains)]


def _best_after(steps: list[list[tuple[int, int, int]]], full: int) -> list[int]:
    """Set at the top → the best that the rest can still add."""
    after = [0] * (full + 1)
    for top in range(full - 1, -1, -1):
        after[top] = max(gain + after[new] for _, new, gain in steps[top])
    return after


def _checked(margins: np.ndarray) -> list[list[int]]:
    if len(margins) > MAX_COMPLETIONS:
        raise PreflabError(
            f"{len(margins)} completions to put in Kemeny's order",
            f"at most {MAX_COMPLETIONS}",
            "use `copeland_order` for longer lists",
        )
    whole = np.rint(np.asarray(margins, dtype=float) * SCALE).astype(np.int64)
    if whole.shape != (len(whole), len(whole)) or (whole != -whole.T).any():
        raise PreflabError("margins that are not antisymmetric", "margins[i, j] = −margins[j, i]", "take for − against")
    rows: list[list[int]] = whole.tolist()
    return rows
