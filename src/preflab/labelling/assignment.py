"""Assigns tasks to labelers.

Tasks are ordered by priority (highest first), then by missing labels (fewest first) or by the worth of one more label,
then by position in the campaign. A task is free while counted labels plus counted leases are fewer than the labels
wanted. Tasks are assigned under the single write lock, so a task is never given to more labelers than it needs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    true,
)

from preflab.labelling.campaign_rows import Running, allowed_kind, does_count, read_running, read_standing
from preflab.labelling.clock import utc_now
from preflab.labelling.leases import hold_new, renew, sweep
from preflab.labelling.shown_tasks import Turn, read_row, read_turn
from preflab.labelling.tables import TASK_STATES, TURNS
from preflab.store.database import reading, writing
from preflab.store.schema import TASK_COMPLETIONS
from preflab.store.workspace import Workspace

S, T = TASK_STATES.c, TURNS.c
HAS_PLACE = S.num_done + S.num_held < S.wanted

# These statements are built once, since every request needs them.
OWN = and_(T.labeler_id == bindparam("of_labeler"), T.campaign_id == bindparam("of_campaign"))
HELD = select(TURNS).where(OWN, T.state == "held").order_by(T.opened_at).limit(1)
LAPSED = (
    select(TURNS)
    .join(TASK_STATES, S.task_id == T.task_id)
    .where(OWN, T.state == "lapsed", or_(~T.counts, S.is_gold, and_(S.state == "open", HAS_PLACE)))
    .order_by(T.opened_at.desc())
    .limit(1)
)
NUM_COMPLETIONS = select(func.count()).where(TASK_COMPLETIONS.c.parent_id == bindparam("of_task"))


@dataclass(frozen=True)
class Waiting:
    """Why there is no task for a labeler now."""

    reason: Literal["paused", "closed", "all_done", "all_held", "you_did_all"]
    """`all_held`: other labelers hold the last free tasks; `you_did_all`: the remaining tasks need other labelers."""
    num_left: int
    """Tasks of the campaign that still need labels."""


def next_turn(ws: Workspace, campaign_id: str, labeler_id: str, now: datetime | None = None) -> Turn | None:
    """Give a labeler a task under a lease: the task it already holds, or else the next free one.

    Args:
        ws: the workspace.
        campaign_id: the campaign.
        labeler_id: a person, an AI judge or a simulated labeler.
        now: the current time; tests set it.

    Returns:
        the turn, or None if there is no task (`why_waiting` says why).

    Raises:
        NotFound: no such campaign or labeler.
        NotAllowed: the labeler may not judge in this campaign, or the account has ended.
    """
    now = now or utc_now()
    with writing(ws.engine) as connection:
        campaign = read_running(connection, campaign_id)
        counted = does_count(campaign.options, allowed_kind(connection, campaign, labeler_id))
        sweep(connection, now)
        if campaign.state != "open":
            return None
        task_id = _renew_held(connection, campaign, labeler_id, now)
        task_id = task_id or _take_new(connection, campaign, labeler_id, counted, now)
    if task_id is None:
        return None
    with reading(ws.engine) as connection:
        return read_turn(connection, task_id, labeler_id)


def reopen_turn(ws: Workspace, task_id: str, labeler_id: str, now: datetime | None = None) -> Turn:
    """A task that was shown to this labeler before, to continue it or to change the submission; renews its lease.

    Raises:
        NotYours: the task was never shown to this labeler.
    """
    now = now or utc_now()
    with reading(ws.engine) as connection:
        state = read_row(connection, task_id, labeler_id)["state"]
    if state in ("held", "lapsed"):
        with writing(ws.engine) as connection:
            sweep(connection, now)
            row = read_row(connection, task_id, labeler_id)
            campaign = read_running(connection, row["campaign_id"])
            if campaign.state == "open" and read_standing(connection, campaign, labeler_id).is_in:
                renew(connection, row, now, campaign.options.lease_minutes)
    with reading(ws.engine) as connection:
        return read_turn(connection, task_id, labeler_id)


def read_seen_turn(ws: Workspace, task_id: str, labeler_id: str) -> Turn:
    """A task that was shown to this labeler before, without renewing its lease; enough to submit a judgment.

    Raises:
        NotYours: the task was never shown to this labeler.
    """
    with reading(ws.engine) as connection:
        return read_turn(connection, task_id, labeler_id)


def why_waiting(ws: Workspace, campaign_id: str, labeler_id: str) -> Waiting:
    """The reason why `next_turn` returned None."""
    with reading(ws.engine) as connection:
        campaign = read_running(connection, campaign_id)
        num_left = campaign.num_tasks - campaign.num_done
        if campaign.state != "open":
            return Waiting("paused" if campaign.state == "paused" else "closed", num_left)
        if num_left == 0:
            return Waiting("all_done", 0)
        new = _open_tasks(campaign_id).where(_unseen_by(labeler_id)).limit(1)
        own_lapsed = _own_lapsed(campaign_id, labeler_id).limit(1)
        could_come_free = connection.execute(new).first() or connection.execute(own_lapsed).first()
        return Waiting("all_held" if could_come_free else "you_did_all", num_left)


def _renew_held(connection: Connection, campaign: Running, labeler_id: str, now: datetime) -> str | None:
    """Renew the lease on the task this labeler holds, or else on one whose lease expired and that is still free.

    Returns the task's id; None if there is no such task.
    """
    values = {"of_labeler": labeler_id, "of_campaign": campaign.campaign_id}
    row = connection.execute(HELD, values).mappings().first() or connection.execute(LAPSED, values).mappings().first()
    if row is None:
        return None
    renew(connection, row, now, campaign.options.lease_minutes)
    return str(row["task_id"])


def _take_new(connection: Connection, campaign: Running, labeler_id: str, counted: bool, now: datetime) -> str | None:
    """Give this labeler a task it has not seen, under a lease; returns the task's id, or None if there is none."""
    row = (
        _next_counted(connection, campaign, labeler_id) if counted else _next_in_line(connection, campaign, labeler_id)
    )
    if row is None:
        return None
    num = connection.execute(NUM_COMPLETIONS, {"of_task": row["task_id"]}).scalar_one()
    minutes = campaign.options.lease_minutes
    hold_new(connection, labeler_id, row, num, counted=counted, now=now, minutes=minutes)
    return str(row["task_id"])


def _next_counted(connection: Connection, campaign: Running, labeler_id: str) -> RowMapping | None:
    """The next free task in the campaign's order, or a gold task if one is due; None if only gold tasks are left."""
    query = NEXT_BY_WORTH if campaign.options.order == "worth_asking" else NEXT
    row = connection.execute(query, {"of_campaign": campaign.campaign_id, "of_labeler": labeler_id}).mappings().first()
    if row is not None and _gold_is_due(connection, campaign, labeler_id):
        return _next_gold(connection, campaign.campaign_id, labeler_id) or row
    return row


def _next_in_line(connection: Connection, campaign: Running, labeler_id: str) -> RowMapping | None:
    """The next task for a labeler whose labels do not count: each task once, done or not, by position.

    Continues after the labeler's last task, then returns to tasks it has not seen before that.
    """
    conditions = (T.labeler_id == labeler_id, T.campaign_id == campaign.campaign_id)
    last = connection.execute(select(func.max(T.position)).where(*conditions)).scalar()
    query = select(TASK_STATES).where(S.campaign_id == campaign.campaign_id).order_by(S.position).limit(1)
    following = connection.execute(query.where(S.position > (-1 if last is None else last))).mappings().first()
    return following or connection.execute(query.where(_unseen_by(labeler_id))).mappings().first()


def _next_gold(connection: Connection, campaign_id: str, labeler_id: str) -> RowMapping | None:
    query = select(TASK_STATES).where(S.campaign_id == campaign_id, S.is_gold == true(), _unseen_by(labeler_id))
    return connection.execute(query.order_by(S.position).limit(1)).mappings().first()


def _gold_is_due(connection: Connection, campaign: Running, labeler_id: str) -> bool:
    """Whether a gold task is next: drawn from a hash of campaign, labeler and number of turns.

    Gold tasks then have the wanted share without a regular rhythm that labelers could notice.
    """
    if campaign.options.gold_share == 0:
        return False
    conditions = (T.labeler_id == labeler_id, T.campaign_id == campaign.campaign_id)
    num = connection.execute(select(func.count()).select_from(TURNS).where(*conditions)).scalar_one()
    drawn = hashlib.sha256(f"gold\n{campaign.campaign_id}\n{labeler_id}\n{num}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") / 2**64 < campaign.options.gold_share


def _open_tasks(campaign_id: str | BindParameter[str]) -> Select[Any]:
    return select(TASK_STATES).where(S.campaign_id == campaign_id, S.is_gold == false(), S.state == "open")


def _own_lapsed(campaign_id: str, labeler_id: str) -> Select[Any]:
    conditions = (T.labeler_id == labeler_id, T.campaign_id == campaign_id, T.state == "lapsed")
    return select(T.task_id).join(TASK_STATES, S.task_id == T.task_id).where(*conditions, S.state == "open")


def _unseen_by(labeler_id: str | BindParameter[str]) -> ColumnElement[bool]:
    """The condition that a task was never shown to this labeler.

    A correlated subquery looks each task up by the key of the turns. With an anti-join, PostgreSQL without fresh
    statistics would compare every task with all turns of the labeler.
    """
    seen = select(T.task_id).where(T.labeler_id == labeler_id, T.task_id == S.task_id).limit(1)
    return seen.correlate(TASK_STATES).scalar_subquery().is_(None)


# These two statements are built once, since every labeler waits for them.
_FREE = _open_tasks(bindparam("of_campaign")).where(HAS_PLACE, _unseen_by(bindparam("of_labeler"))).limit(1)
NEXT = _FREE.order_by(S.later, S.missing, S.position)
NEXT_BY_WORTH = _FREE.order_by(S.later, S.dull, S.missing, S.position)
