"""Assigns labelers to tasks: the same number of labelers per task, and about the same number of tasks per labeler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from preflab.errors import PreflabError
from preflab.words import count


def assign(task_ids: Sequence[str], labeler_ids: Sequence[str], overlap: int, seed: int) -> list[tuple[str, ...]]:
    """The labelers of each task: those with the fewest tasks so far, at random among equals.

    Loads differ by at most 1 task. Labelers meet in changing combinations, which estimates of reliability need.

    Raises:
        PreflabError: fewer labelers than `overlap`.
    """
    if overlap > len(labeler_ids):
        raise PreflabError(
            f"overlap {overlap} with {count(len(labeler_ids), 'labeler')}",
            "at least as many labelers as labels per task",
            "lower `overlap` or add labelers",
        )
    rng = np.random.default_rng(seed)
    load = np.zeros(len(labeler_ids), dtype=int)
    assigned = []
    for _ in task_ids:
        chosen = np.lexsort((rng.random(len(labeler_ids)), load))[:overlap]
        load[chosen] += 1
        assigned.append(tuple(labeler_ids[i] for i in sorted(chosen)))
    return assigned
