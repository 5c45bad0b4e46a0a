"""Answers in the order a labeler was shown ↔ answers in the task's order.

The API gives labelers the completions in the order drawn for them and takes answers aligned with it, so that the
task's own order, in which each place may belong to one model, does not leave the server.
"""

from __future__ import annotations

from collections.abc import Sequence

from preflab.records import Answer


def as_shown(answer: Answer, shown_order: Sequence[int]) -> Answer:
    """An answer in the task's order, aligned with what was shown: place p is the task's `shown_order[p]`."""
    return answer.reordered(shown_order)


def as_in_task(answer: Answer, shown_order: Sequence[int]) -> Answer:
    """An answer aligned with what was shown, in the task's order."""
    return answer.reordered([list(shown_order).index(index) for index in range(len(shown_order))])
