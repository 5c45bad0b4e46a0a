"""Converts answers between the order shown to a labeler and the task's order.

The API sends completions in the order drawn for the labeler, and expects answers in that order. The task's own order
never leaves the server, since each of its positions may belong to one model.
"""

from __future__ import annotations

from collections.abc import Sequence

from preflab.records import Answer


def as_shown(answer: Answer, shown_order: Sequence[int]) -> Answer:
    """An answer in the task's order → the same answer in the order shown: place p is the task's `shown_order[p]`."""
    return answer.reordered(shown_order)


def as_in_task(answer: Answer, shown_order: Sequence[int]) -> Answer:
    """An answer in the order shown → the same answer in the task's order."""
    return answer.reordered([list(shown_order).index(index) for index in range(len(shown_order))])
