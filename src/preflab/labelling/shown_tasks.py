"""A turn: one task as it is shown to one labeler, without the data that could reveal which model wrote a completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, bindparam, select

from preflab.clips import COLUMN as CLIP
from preflab.labelling.campaign_rows import Running, read_running
from preflab.labelling.errors import NotYours
from preflab.labelling.options import CampaignOptions
from preflab.labelling.tables import TASKS, TURNS
from preflab.records import ENVIRONMENT, Answer, Campaign, Completion, Judgment, Prompt, Task
from preflab.storable import unstorable
from preflab.store.record_reading import read_ids
from preflab.store.rows import BY_NAME
from preflab.store.schema import TASK_COMPLETIONS

TurnState = Literal["held", "lapsed", "submitted", "skipped"]
SHOWN_COLUMNS = ("image", CLIP)
"""Columns of a completion that labelers may see."""
RECENT = 50
"""Number of latest submissions from which a labeler's median time is computed."""

# These statements are built once, since every request needs them.
OF_TASK = TASK_COMPLETIONS.c.parent_id == bindparam("of_task")
OWN = select(TURNS).where(TURNS.c.labeler_id == bindparam("of_labeler"), TURNS.c.task_id == bindparam("of_task"))
OWN_TIMES = (
    select(TURNS.c.active_ms)
    .where(TURNS.c.labeler_id == bindparam("of_labeler"), TURNS.c.campaign_id == bindparam("of_campaign"))
    .where(TURNS.c.state == "submitted")
    .order_by(TURNS.c.closed_at.desc())
    .limit(RECENT)
)
TASK = (
    select(TASKS.c.prompt_id, TASK_COMPLETIONS.c.child_id)
    .join(TASK_COMPLETIONS, TASK_COMPLETIONS.c.parent_id == TASKS.c.id)
    .where(OF_TASK)
    .order_by(TASK_COMPLETIONS.c.position)
)
PROMPT = (
    select(BY_NAME["prompt"].table)
    .join(TASKS, TASKS.c.prompt_id == BY_NAME["prompt"].table.c.id)
    .where(TASKS.c.id == bindparam("of_task"))
)
COMPLETIONS = (
    select(BY_NAME["completion"].table)
    .join(TASK_COMPLETIONS, TASK_COMPLETIONS.c.child_id == BY_NAME["completion"].table.c.id)
    .where(OF_TASK)
    .order_by(TASK_COMPLETIONS.c.position)
)


@dataclass(frozen=True)
class Turn:
    """One task as it is shown to one labeler."""

    task: Task
    campaign: Campaign
    options: CampaignOptions
    prompt: Prompt
    completions: tuple[Completion, ...]
    """In the task's order, without model, tokens and log-probabilities; position p shows `shown_order[p]`."""
    shown_order: tuple[int, ...]
    answer: Answer | None
    """The latest submitted answer."""
    draft: Mapping[str, Any] | None
    """The answer in progress, not submitted yet."""
    revision: int
    """Revision of the latest judgment, which a submission is based on; 0 = none yet."""
    state: TurnState
    expires_at: str | None
    """End of the lease."""
    guideline_version: int
    labeler_id: str
    median_ms: int | None
    """The labeler's median time on a task of this campaign, in ms; None before the first submission."""
    note: str = ""
    """Note of the latest judgment."""
    flagged: bool = False
    skip_reason: str = ""
    surplus: bool = False
    draft_unreadable: bool = False
    """True if an older version stored a draft that cannot be shown; it is left out, and the page says so."""


def read_row(connection: Connection, task_id: str, labeler_id: str) -> RowMapping:
    """Read the row of a turn.

    Raises:
        NotYours: the task was never shown to this labeler.
    """
    row = connection.execute(OWN, {"of_task": task_id, "of_labeler": labeler_id}).mappings().first()
    if row is None:
        raise NotYours(task_id)
    return row


def read_task(connection: Connection, turn: RowMapping) -> Task:
    """The task of a turn."""
    rows = connection.execute(TASK, {"of_task": turn["task_id"]}).all()
    return Task(turn["task_id"], turn["campaign_id"], rows[0].prompt_id, tuple(row.child_id for row in rows))


def read_turn(connection: Connection, task_id: str, labeler_id: str) -> Turn:
    """Read a turn with its prompt, completions and latest judgment.

    Raises:
        NotYours: the task was never shown to this labeler.
    """
    row = read_row(connection, task_id, labeler_id)
    campaign: Running = read_running(connection, row["campaign_id"])
    of_task = {"of_task": task_id}
    prompt: Prompt = BY_NAME["prompt"].from_row(dict(connection.execute(PROMPT, of_task).mappings().one()))
    rows = connection.execute(COMPLETIONS, of_task).mappings()
    completions: list[Completion] = [BY_NAME["completion"].from_row(dict(each)) for each in rows]
    judgment = _judgment(connection, row["judgment_id"])
    draft = _readable(row["draft"])
    return Turn(
        task=Task(task_id, row["campaign_id"], prompt.id, tuple(each.id for each in completions)),
        campaign=campaign.record,
        options=campaign.options,
        prompt=prompt,
        completions=tuple(_blind(each) for each in completions),
        shown_order=tuple(row["shown_order"]),
        answer=judgment.answer if judgment else None,
        draft=draft,
        revision=row["revision"],
        state=row["state"],
        expires_at=row["expires_at"],
        guideline_version=campaign.guideline_version,
        labeler_id=labeler_id,
        median_ms=own_median(connection, row["campaign_id"], labeler_id),
        note=judgment.note if judgment else "",
        flagged=judgment.flagged if judgment else False,
        skip_reason=row["skip_reason"],
        surplus=row["surplus"],
        draft_unreadable=draft is None and row["draft_saved_at"] is not None,
    )


def own_median(connection: Connection, campaign_id: str, labeler_id: str) -> int | None:
    """The labeler's median active time over the latest submissions, in ms; None before the first."""
    values = {"of_labeler": labeler_id, "of_campaign": campaign_id}
    times = [time for time in connection.execute(OWN_TIMES, values).scalars() if time > 0]
    return round(median(times)) if times else None


def _readable(draft: Any) -> Mapping[str, Any] | None:
    """The draft; None if it is no object or holds text that cannot be encoded."""
    return draft if isinstance(draft, dict) and unstorable(draft) is None else None


def _judgment(connection: Connection, judgment_id: str | None) -> Judgment | None:
    if judgment_id is None:
        return None
    judgment: Judgment = read_ids(connection, BY_NAME["judgment"], [judgment_id])[0]
    return judgment


def _blind(completion: Completion) -> Completion:
    """The completion without data that could reveal which model wrote it."""
    columns = {name: completion.columns[name] for name in SHOWN_COLUMNS if name in completion.columns}
    if completion.last_turn:  # without the rewards beside it, which would sway the labeler
        columns[ENVIRONMENT] = {"last_turn": completion.last_turn}
    return replace(completion, model="", seed=0, index=0, token_ids=(), logps=(), temperature=1.0, columns=columns)
