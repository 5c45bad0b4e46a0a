"""Who gets which task next.

Higher priority first, then tasks nearest to completion (or most worth asking), then their place in the campaign. Two
labelers never hold more places of a task than it has: a place is free while labels that count and leases that count
are fewer than the wanted labels, and all of it is decided under the one write lock.
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

from preflab.labelling.campaign_rows import Running, allowed_kind, counts, running, standing
from preflab.labelling.clock import utc_now
from preflab.labelling.leases import hold_new, renew, sweep
from preflab.labelling.tables import TASK_STATES, TURNS
from preflab.labelling.turns import Turn, own_row, read_turn
from preflab.store.database import reading, writing
from preflab.store.schema import TASK_COMPLETIONS
from preflab.store.workspace import Workspace

S, T = TASK_STATES.c, TURNS.c
HAS_PLACE = S.num_done + S.num_held < S.wanted

# Statements that every request needs are put together once.
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
    """Why there is no task now."""

    reason: Literal["paused", "closed", "all_done", "all_held", "you_did_all"]
    """`all_held`: others are at the last ones, come back later; `you_did_all`: the rest waits for other labelers."""
    num_left: int
    """Tasks of the campaign that still want labels."""


def next_turn(ws: Workspace, campaign_id: str, labeler_id: str, now: datetime | None = None) -> Turn | None:
    """The task to judge now, under a lease: the one this labeler holds already, or the next free one.

    Args:
        ws: the workspace.
        campaign_id: where.
        labeler_id: a person, an AI judge or a simulated labeler, all by the same door.
        now: for tests; the present moment otherwise.

    Returns:
        the turn, or None where there is nothing (`waiting` says why).

    Raises:
        NotFound: no such campaign or labeler.
        NotAllowed: the campaign is for others, or the account has ended.
    """
    now = now or utc_now()
    with writing(ws.engine) as connection:
        campaign = running(connection, campaign_id)
        counted = counts(campaign.options, allowed_kind(connection, campaign, labeler_id))
        sweep(connection, now)
        if campaign.state != "open":
            return None
        task_id = _held(connection, campaign, labeler_id, now) or _taken(connection, campaign, labeler_id, counted, now)
    if task_id is None:
        return None
    with reading(ws.engine) as connection:
        return read_turn(connection, task_id, labeler_id)


def turn(ws: Workspace, task_id: str, labeler_id: str, now: datetime | None = None) -> Turn:
    """A task that was shown to this labeler, to go on with it or to change what was submitted; renews its lease.

    Raises:
        NotYours: it was never shown to this labeler.
    """
    now = now or utc_now()
    with reading(ws.engine) as connection:
        state = own_row(connection, task_id, labeler_id)["state"]
    if state in ("held", "lapsed"):
        with writing(ws.engine) as connection:
            sweep(connection, now)
            row = own_row(connection, task_id, labeler_id)
            campaign = running(connection, row["campaign_id"])
            if campaign.state == "open" and standing(connection, campaign, labeler_id).is_in:
                renew(connection, row, now, campaign.options.lease_minutes)
    with reading(ws.engine) as connection:
        return read_turn(connection, task_id, labeler_id)


def seen_turn(ws: Workspace, task_id: str, labeler_id: str) -> Turn:
    """A task that was shown to this labeler, as it stands: enough to submit it, whatever became of the lease.

    Raises:
        NotYours: it was never shown to this labeler.
    """
    with reading(ws.engine) as connection:
        return read_turn(connection, task_id, labeler_id)


def waiting(ws: Workspace, campaign_id: str, labeler_id: str) -> Waiting:
    """Why `next_turn` gave nothing."""
    with reading(ws.engine) as connection:
        campaign = running(connection, campaign_id)
        num_left = campaign.num_tasks - campaign.num_done
        if campaign.state != "open":
            return Waiting("paused" if campaign.state == "paused" else "closed", num_left)
        if num_left == 0:
            return Waiting("all_done", 0)
        new = _open_tasks(campaign_id).where(_unseen_by(labeler_id)).limit(1)
        mine_lapsed = _own_lapsed(campaign_id, labeler_id).limit(1)
        others = connection.execute(new).first() or connection.execute(mine_lapsed).first()
        return Waiting("all_held" if others else "you_did_all", num_left)


def _held(connection: Connection, campaign: Running, labeler_id: str, now: datetime) -> str | None:
    """The task this labeler is at; else one whose lease ran out and that is still free."""
    values = {"of_labeler": labeler_id, "of_campaign": campaign.campaign_id}
    row = connection.execute(HELD, values).mappings().first() or connection.execute(LAPSED, values).mappings().first()
    if row is None:
        return None
    renew(connection, row, now, campaign.options.lease_minutes)
    return str(row["task_id"])


def _taken(connection: Connection, campaign: Running, labeler_id: str, counted: bool, now: datetime) -> str | None:
    """A task this labeler has not seen, now held."""
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
    """The next free task in the campaign's order, or at times a gold task; none once only gold ones are left."""
    query = NEXT_BY_WORTH if campaign.options.order == "worth_asking" else NEXT
    row = connection.execute(query, {"of_campaign": campaign.campaign_id, "of_labeler": labeler_id}).mappings().first()
    if row is not None and _gold_is_due(connection, campaign, labeler_id):
        return _next_gold(connection, campaign.campaign_id, labeler_id) or row
    return row


def _next_in_line(connection: Connection, campaign: Running, labeler_id: str) -> RowMapping | None:
    """For those who do not count: every task once, done or not, by its place; first what lies behind the last one."""
    conditions = (T.labeler_id == labeler_id, T.campaign_id == campaign.campaign_id)
    last = connection.execute(select(func.max(T.position)).where(*conditions)).scalar()
    query = select(TASK_STATES).where(S.campaign_id == campaign.campaign_id).order_by(S.position).limit(1)
    behind = connection.execute(query.where(S.position > (-1 if last is None else last))).mappings().first()
    return behind or connection.execute(query.where(_unseen_by(labeler_id))).mappings().first()


def _next_gold(connection: Connection, campaign_id: str, labeler_id: str) -> RowMapping | None:
    query = select(TASK_STATES).where(S.campaign_id == campaign_id, S.is_gold == true(), _unseen_by(labeler_id))
    return connection.execute(query.order_by(S.position).limit(1)).mappings().first()


def _gold_is_due(connection: Connection, campaign: Running, labeler_id: str) -> bool:
    """Drawn from the hash of labeler and number of tasks so far: the wanted share, and not every tenth."""
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
    """Tasks without a turn of this labeler.

    Asked row by row through the key of the turns: as an anti-join, PostgreSQL without fresh statistics compares every
    task with all turns of the labeler.
    """
    seen = select(T.task_id).where(T.labeler_id == labeler_id, T.task_id == S.task_id).limit(1)
    return seen.correlate(TASK_STATES).scalar_subquery().is_(None)


# The two statements that every labeler waits for, put together once.
_FREE = _open_tasks(bindparam("of_campaign")).where(HAS_PLACE, _unseen_by(bindparam("of_labeler"))).limit(1)
NEXT = _FREE.order_by(S.later, S.missing, S.position)
NEXT_BY_WORTH = _FREE.order_by(S.later, S.dull, S.missing, S.position)
