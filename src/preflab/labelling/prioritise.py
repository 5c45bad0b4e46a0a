"""Tasks in the order of what is most worth asking: close pairs, pairs nobody has judged, disagreeing reward models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from preflab.feedback.asking import worth_asking
from preflab.feedback.consensus import by_task
from preflab.feedback.reading import Reading
from preflab.labelling.campaigns import campaign_view, change_options
from preflab.labelling.counting import labels_of
from preflab.labelling.reading import campaign_reading
from preflab.labelling.tasks import set_worth
from preflab.records import Judgment, Task
from preflab.store.workspace import Workspace

Scores = Mapping[str, Sequence[float]]
"""Completion id → its score by each reward model."""


def prioritise(ws: Workspace, campaign_id: str, by: str, scores: Scores | None = None) -> int:
    """Write what one more label on each task is worth, and ask the worthiest first.

    Args:
        ws: the workspace.
        campaign_id: whose tasks.
        by: who asks for it (account id).
        scores: of several reward models; where they disagree, a label teaches more.

    Returns:
        how many tasks were put in order.
    """
    view, read = campaign_view(ws, campaign_id), campaign_reading(ws, campaign_id)
    labels = labels_of(ws, campaign_id).counted
    reliabilities, judged = read.odds(labels), by_task(labels)
    worths: dict[str, float] = {}
    for task in ws.tasks(campaign_id=campaign_id):
        task_scores = judged.get(task.id, [])
        worths[task.id] = worth_asking(
            len(task.completion_ids), read.votes(task_scores), reliabilities, _scores_of(task, scores),
            dropped=_dropped(task_scores, read),
        )  # fmt: skip
    set_worth(ws, campaign_id, worths, by)
    if view.options.order != "worth_asking":
        change_options(ws, campaign_id, view.revision, {"order": "worth_asking"}, by)
    return len(worths)


def _dropped(judgments: Sequence[Judgment], read: Reading) -> list[int]:
    """Completions that are F by now."""
    return [i for i, gone in enumerate(read.failed(judgments)) if gone] if judgments else []


def _scores_of(task: Task, scores: Scores | None) -> np.ndarray | None:
    """(models, K), or None where the models did not score all completions of the task."""
    if not scores or any(completion not in scores for completion in task.completion_ids):
        return None
    return np.array([scores[completion] for completion in task.completion_ids], dtype=float).T
