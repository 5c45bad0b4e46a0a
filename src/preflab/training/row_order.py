"""Chooses the rows of a step as a pure function of seed and step, so a restart needs no stored position."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

from preflab.errors import PreflabError
from preflab.seeds import derive_seed
from preflab.training.batches import token_budget_batches


def steps_per_epoch(num_rows: int, rows_per_step: int) -> int:
    """Optimiser steps in one pass over the rows; the last step takes the remaining rows.

    Raises:
        PreflabError: there are no rows.
    """
    if num_rows < 1:
        raise PreflabError("nothing to learn from: 0 rows", "at least one row", "check the data of this stage")
    return -(-num_rows // rows_per_step)


def rows_of_step(step: int, num_rows: int, rows_per_step: int, seed: int) -> list[int]:
    """Indices of the rows of a step, counted from 0; every epoch is shuffled anew and takes each row once."""
    epoch, place = divmod(step, steps_per_epoch(num_rows, rows_per_step))
    order = _shuffled(num_rows, derive_seed(seed, "order", epoch))
    return list(order[place * rows_per_step : (place + 1) * rows_per_step])


def row_at(position: int, num_rows: int, seed: int) -> int:
    """Index of the row at a position of an endless stream; every pass is shuffled anew and takes each row once."""
    epoch, place = divmod(position, num_rows)
    return _shuffled(num_rows, derive_seed(seed, "prompts", epoch))[place]


def permutation(num: int, seed: int) -> list[int]:
    """The numbers below `num` in a random order that depends only on the seed."""
    order = list(range(num))
    random.Random(seed).shuffle(order)
    return order


def split(order: list[int], num_parts: int) -> list[list[int]]:
    """Cut a list into `num_parts` consecutive parts whose sizes differ by at most one.

    Example:
        >>> split([5, 6, 7, 8, 9], 2)
        [[5, 6], [7, 8, 9]]
    """
    bounds = [len(order) * i // num_parts for i in range(num_parts + 1)]
    return [order[a:b] for a, b in pairwise(bounds)]


@lru_cache(maxsize=2)
def _shuffled(num_rows: int, seed: int) -> tuple[int, ...]:
    """`permutation`, cached because one step looks up many positions of the same pass."""
    return tuple(permutation(num_rows, seed))


def micro_batches_of_pass(
    lengths: Sequence[int],
    num_minibatches: int,
    tokens_per_micro_batch: int,
    seed: int,
    cut: Callable[[list[int]], list[list[int]]] | None = None,
) -> list[list[list[int]]]:
    """Shuffle the rows, cut them into minibatches, and cut each minibatch into micro-batches within the token budget.

    `cut` makes the micro-batches of some rows; None: `token_budget_batches`. Minibatches are the same with any `cut`.

    Returns:
        The minibatches in the order of the optimiser steps. Each is a list of micro-batches of row indices.
    """
    minibatches = []
    for rows in split(permutation(len(lengths), seed), num_minibatches):
        if cut is not None:
            minibatches.append(cut(rows))
            continue
        parts = token_budget_batches([lengths[row] for row in rows], tokens_per_micro_batch)
        minibatches.append([[rows[i] for i in part] for part in parts])
    return minibatches


def own_micro_batches(
    batches: list[list[int]], process_index: int, num_processes: int
) -> list[tuple[list[int], float]]:
    """The micro-batches of one process, each with the factor by which its loss is multiplied.

    `forward()` and `backward()` may be collective calls, so every process gets the same number of micro-batches. If the
    number of micro-batches is not a multiple of `num_processes`, the last processes get micro-batch 0 once more, with
    factor 0. All other factors are `num_processes`: gradients are averaged over the processes, and every loss is
    already divided by the denominator of the whole step.

    Example:
        >>> own_micro_batches([[0], [1], [2]], process_index=1, num_processes=2)
        [([1], 2.0), ([0], 0.0)]
    """
    num_rounds = -(-len(batches) // num_processes)
    places = [number * num_processes + process_index for number in range(num_rounds)]
    return [(batches[i], float(num_processes)) if i < len(batches) else (batches[0], 0.0) for i in places]
