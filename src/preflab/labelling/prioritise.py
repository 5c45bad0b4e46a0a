"""Tasks in the order of what is most worth asking: close pairs, pairs nobody has judged, disagreeing reward models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from preflab.feedback.asking import worth_asking
from preflab.feedback.consensus import by_task, failed_completions
from preflab.feedback.pairs import all_votes
from preflab.feedback.reliability import Reliability
from preflab.labelling.adjudication import FAIL_SHARE
from preflab.labelling.campaigns import campaign_view, change_options
from preflab.labelling.counting import labels_of
from preflab.labelling.quality import campaign_quality, main_criterion
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
    view = campaign_view(ws, campaign_id)
    turned, criterion = view.options.confirmed_reversed, main_criterion(view.options)
    reliabilities = {
        each.labeler_id: Reliability(each.numbers.reliability, each.numbers.num_votes)
        for each in campaign_quality(ws, campaign_id).labelers
    }
    judged = by_task(labels_of(ws, campaign_id).counted)
    worths: dict[str, float] = {}
    for task in ws.tasks(campaign_id=campaign_id):
        own = judged.get(task.id, [])
        worths[task.id] = worth_asking(
            len(task.completion_ids), all_votes(own, turned, criterion), reliabilities, _scores_of(task, scores),
            dropped=_dropped(own),
        )  # fmt: skip
    set_worth(ws, campaign_id, worths, by)
    if view.options.order != "worth_asking":
        change_options(ws, campaign_id, view.revision, {"order": "worth_asking"}, by)
    return len(worths)


def _dropped(judgments: Sequence[Judgment]) -> list[int]:
    """Completions that are F by now."""
    return [i for i, gone in enumerate(failed_completions(judgments, FAIL_SHARE)) if gone] if judgments else []


def _scores_of(task: Task, scores: Scores | None) -> np.ndarray | None:
    """(models, K), or None where the models did not score all completions of the task."""
    if not scores or any(completion not in scores for completion in task.completion_ids):
        return None
    return np.array([scores[completion] for completion in task.completion_ids], dtype=float).T
