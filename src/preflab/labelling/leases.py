"""Leases: a task is reserved for a limited time for the labeler it is shown to.

A lease that has expired is `lapsed`: the task is free for others again. The draft and the shown order stay stored for
the labeler's return.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from preflab.labelling.clock import after, stamp
from preflab.labelling.tables import TASK_STATES, TURNS


def drawn_order(task_id: str, labeler_id: str, num_completions: int) -> list[int]:
    """Draw the shown order from a hash of task and labeler: position on the page → index of the completion."""

    def draw(index: int) -> bytes:
        return hashlib.sha256(f"{task_id}\n{labeler_id}\n{index}".encode()).digest()

    return sorted(range(num_completions), key=draw)


def sweep(connection: Connection, now: datetime) -> int:
    """End the leases that have expired and free their tasks; returns the number of leases."""
    return _lapse(connection, (TURNS.c.expires_at < stamp(now),))


def end_leases_of(connection: Connection, labeler_id: str) -> int:
    """End all leases of a labeler; returns the number of leases."""
    return _lapse(connection, (TURNS.c.labeler_id == labeler_id, TURNS.c.state == "held"))


def _lapse(connection: Connection, conditions: tuple[Any, ...]) -> int:
    ended = connection.execute(select(TURNS.c.task_id, TURNS.c.counts).where(*conditions)).all()
    if not ended:
        return 0
    connection.execute(update(TURNS).where(*conditions).values(state="lapsed", expires_at=None))
    freed = Counter(task_id for task_id, counted in ended if counted)
    if freed:
        give_back = update(TASK_STATES).where(TASK_STATES.c.task_id == bindparam("freed_task"))
        rows = [{"freed_task": task_id, "freed": num} for task_id, num in freed.items()]
        connection.execute(give_back.values(num_held=TASK_STATES.c.num_held - bindparam("freed")), rows)
    return len(ended)


def hold_new(
    connection: Connection,
    labeler_id: str,
    task: Any,
    num_completions: int,
    *,
    counted: bool,
    now: datetime,
    minutes: float,
) -> None:
    """Show a task to a labeler for the first time, under a lease.

    Args:
        connection: a connection inside a writing transaction.
        labeler_id: the labeler.
        task: the task's row in TASK_STATES.
        num_completions: K, the number of completions of the task.
        counted: whether the lease counts towards the labels wanted for the task.
        now: the current time.
        minutes: duration of the lease.
    """
    row = {
        "labeler_id": labeler_id,
        "task_id": task["task_id"],
        "campaign_id": task["campaign_id"],
        "position": task["position"],
        "state": "held",
        "counts": counted,
        "shown_order": drawn_order(task["task_id"], labeler_id, num_completions),
        "opened_at": stamp(now),
        "expires_at": after(now, minutes=minutes),
        "draft": None,
        "skip_reason": "",
        "revision": 0,
        "surplus": False,
        "active_ms": 0,
        "num_pairs": 0,
        "num_ties": 0,
        "as_shown": False,
    }
    connection.execute(insert(TURNS), row)
    if counted:
        _take_place(connection, task["task_id"])


def renew(connection: Connection, turn: Any, now: datetime, minutes: float) -> None:
    """Extend a held lease, or renew a lapsed one if its task is still free; does nothing otherwise."""
    if turn["state"] not in ("held", "lapsed"):
        return
    conditions = (TURNS.c.labeler_id == turn["labeler_id"], TURNS.c.task_id == turn["task_id"])
    if turn["state"] == "lapsed":
        if turn["counts"] and not _is_free(connection, turn["task_id"]):
            return
        if turn["counts"]:
            _take_place(connection, turn["task_id"])
    connection.execute(update(TURNS).where(*conditions).values(state="held", expires_at=after(now, minutes=minutes)))


def release(connection: Connection, turn: Any) -> None:
    """Free the place that a held turn takes in its task; the caller changes the row of the turn."""
    if values := release_values(turn):
        connection.execute(update(TASK_STATES).where(TASK_STATES.c.task_id == turn["task_id"]).values(**values))


def release_values(turn: Any) -> dict[str, Any]:
    """The changes to the task's state when a turn ends: one held place less if the turn was held and counts."""
    return {"num_held": TASK_STATES.c.num_held - 1} if turn["state"] == "held" and turn["counts"] else {}


def _take_place(connection: Connection, task_id: str) -> None:
    values = {"num_held": TASK_STATES.c.num_held + 1}
    connection.execute(update(TASK_STATES).where(TASK_STATES.c.task_id == task_id).values(**values))


def _is_free(connection: Connection, task_id: str) -> bool:
    columns = TASK_STATES.c
    row = connection.execute(
        select(columns.is_gold, columns.num_done + columns.num_held < columns.wanted).where(columns.task_id == task_id)
    ).one()
    return bool(row[0] or row[1])
