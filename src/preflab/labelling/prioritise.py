"""Orders the tasks of a campaign by the worth of one more label.

Worth is high for close pairs, for pairs nobody has judged, and where reward models disagree.
"""

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
"""Completion id → its scores, one per reward model."""


def prioritise(ws: Workspace, campaign_id: str, by: str, scores: Scores | None = None) -> int:
    """Store the worth of one more label on each task, and set the campaign to assign the most worthwhile task first.

    Args:
        ws: the workspace.
        campaign_id: the campaign.
        by: id of the account that asks for it.
        scores: scores by several reward models; a label is worth more where they disagree.

    Returns:
        the number of tasks.
    """
    view, read = campaign_view(ws, campaign_id), campaign_reading(ws, campaign_id)
    labels = labels_of(ws, campaign_id, exact=True).counted
    reliabilities, judged = read.odds(labels), by_task(labels)
    worths: dict[str, float] = {}
    for task in ws.tasks(campaign_id=campaign_id):
        judgments = judged.get(task.id, [])
        worths[task.id] = worth_asking(
            len(task.completion_ids), read.votes(judgments), reliabilities, _scores_of(task, scores),
            dropped=_failed_places(judgments, read),
        )  # fmt: skip
    set_worth(ws, campaign_id, worths, by)
    if view.options.order != "worth_asking":
        change_options(ws, campaign_id, view.revision, {"order": "worth_asking"}, by)
    return len(worths)


def _failed_places(judgments: Sequence[Judgment], read: Reading) -> list[int]:
    """Indices of the completions that the judgments so far mark as F."""
    return [i for i, failed in enumerate(read.failed(judgments)) if failed] if judgments else []


def _scores_of(task: Task, scores: Scores | None) -> np.ndarray | None:
    """The scores of a task's completions, (models, K); None if a completion has no scores."""
    if not scores or any(completion not in scores for completion in task.completion_ids):
        return None
    return np.array([scores[completion] for completion in task.completion_ids], dtype=float).T
