"""Reads the judgments that a `judge` or `ai_judge` stage listed, for later stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.files import read_json
from preflab.records import Answer, Judgment, Task
from preflab.stages.base import StageContext

if TYPE_CHECKING:
    from collections.abc import Mapping

JUDGMENTS = "judgments.json"


def listed_judgments(ctx: StageContext, name: str) -> tuple[list[Judgment], Mapping[str, Any]]:
    """The judgments that a stage listed, including adjudicators' decisions, and the content of judgments.json.

    Judgments made in other campaigns are converted to judgments of the stage's own tasks.
    """
    listed: dict[str, Any] = read_json(ctx.inputs[name].folder / JUDGMENTS)
    judgments = ctx.workspace.judgments(listed["judgment_ids"])
    elsewhere: dict[str, str] = listed.get("tasks", {})
    tasks = {task.id: task for task in ctx.workspace.tasks(sorted(set(elsewhere.values())))} if elsewhere else {}
    return [at_home(j, tasks[elsewhere[j.id]]) if j.id in elsewhere else j for j in judgments], listed


def listed_gold(ctx: StageContext, listed: Mapping[str, Any]) -> tuple[list[Judgment], dict[str, Answer]]:
    """The judgments of gold tasks, and gold task → known answer, from a stage's list; both empty without gold tasks."""
    from preflab.store.answers import answer_from_json

    gold = listed.get("gold", {"judgment_ids": [], "answers": {}})
    answers = {task_id: answer_from_json(answer) for task_id, answer in gold["answers"].items()}
    return (ctx.workspace.judgments(gold["judgment_ids"]) if gold["judgment_ids"] else []), answers


def at_home(judgment: Judgment, task: Task) -> Judgment:
    """A judgment of the same completions made in another task, converted to a judgment of this task."""
    if judgment.task_id == task.id:
        return judgment
    order = [judgment.completion_ids.index(completion_id) for completion_id in task.completion_ids]
    return replace(
        judgment,
        task_id=task.id,
        campaign_id=task.campaign_id,
        completion_ids=task.completion_ids,
        answer=judgment.answer.reordered(order),
        shown_order=tuple(order.index(place) for place in judgment.shown_order),
    )


def ordered_by(judgments: Sequence[Judgment], criterion: str | None) -> str | None:
    """The criterion that orders the completions: `criterion`, else the first one scored; None without scores.

    Raises:
        PreflabError: no labeler scored the criterion that is named.
    """
    names = [name for j in judgments for name in j.answer.criteria]
    if criterion is not None and criterion not in names:
        raise PreflabError(
            f"criterion: {criterion!r}, which these judgments do not score",
            f"one of {', '.join(dict.fromkeys(names)) or 'none: these judgments have no Likert scores'}",
            "correct `criterion`, or remove it",
        )
    return criterion or next(iter(names), None)
