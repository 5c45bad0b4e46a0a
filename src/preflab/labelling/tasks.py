"""Makes the tasks of a campaign from groups of completions, counts their labels, and orders them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, case, func, insert, select, update

from preflab.labelling.audit import note_event
from preflab.labelling.campaign_rows import does_count, read_running
from preflab.labelling.checks import answer_json, checked_answer
from preflab.labelling.errors import Invalid, NotFound
from preflab.labelling.options import CampaignOptions
from preflab.labelling.tables import CAMPAIGN_STATES, JUDGMENTS, TASK_STATES, TASKS, TURNS
from preflab.records import Answer, Task, Way, content_id
from preflab.store.answers import answer_to_json
from preflab.store.database import writing
from preflab.store.record_reading import chunks, read_ids, read_where
from preflab.store.rows import BY_NAME
from preflab.store.workspace import Workspace
from preflab.store.writing import put_records
from preflab.ways.base import WrongAnswer
from preflab.ways.registry import way_named

CHUNK = 5000


def task_groups(way: Way, groups: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Split the completions of each prompt into groups that are judged together.

    Side by side, every two completions form a group; in most other ways, all of them do. A single completion stays a
    group, which `make_tasks` refuses where the way needs more.
    """
    way_of_judging = way_named(way)
    return [task_group for group in groups for task_group in way_of_judging.groups_of(group)]


def make_tasks(
    connection: Connection, campaign_id: str, options: CampaignOptions, groups: Sequence[Sequence[str]]
) -> list[Task]:
    """Make one task per group of completion ids.

    A task's id is a hash of campaign and completions, so making the same task again gives the same id.

    Raises:
        Invalid: a group is too small or too large for the way of judging, or occurs twice.
    """
    prompts = _prompts_of(connection, groups)
    tasks: dict[str, Task] = {}
    for number, group in enumerate(groups):
        _check_size(options, number, group)
        task_id = content_id("task", {"campaign": campaign_id, "completions": list(group)})
        if task_id in tasks:
            raise Invalid(f"group {number}: the same completions as an earlier group", "each group once")
        tasks[task_id] = Task(task_id, campaign_id, prompts[group[0]], tuple(group))
    return list(tasks.values())


def open_tasks(
    connection: Connection,
    campaign_id: str,
    options: CampaignOptions,
    tasks: Sequence[Task],
    gold: Mapping[int, Answer],
) -> int:
    """Store the tasks and queue the new ones after the existing ones; returns the number of new tasks.

    Raises:
        Invalid: a gold answer does not fit its task, or names a group that does not exist.
    """
    put_records(connection, tasks)
    existing = set(
        connection.execute(select(TASK_STATES.c.task_id).where(TASK_STATES.c.campaign_id == campaign_id)).scalars()
    )
    place = len(existing)
    rows = []
    for index, task in enumerate(tasks):
        if task.id not in existing:
            answer = _checked_gold(options, index, task, gold[index]) if index in gold else None
            rows.append(_state_row(task, place, options.overlap, answer))
            place += 1
    if unknown := sorted(index for index in gold if not 0 <= index < len(tasks)):
        raise Invalid(f"gold: group {unknown[0]}", f"the number of a group, 0 to {len(tasks) - 1}")
    for part in chunks(rows, CHUNK):
        connection.execute(insert(TASK_STATES), list(part))
    return len(rows)


def tasks_of(connection: Connection, campaign_id: str) -> list[Task]:
    """All tasks of a campaign, sorted by id."""
    tasks: list[Task] = read_where(connection, BY_NAME["task"], {"campaign_id": campaign_id})
    return tasks


def set_priority(ws: Workspace, campaign_id: str, priorities: Mapping[str, float], by: str = "") -> None:
    """Set priorities (task id → priority); a higher priority comes first, whatever else orders the tasks.

    Raises:
        NotFound: a task is not in the campaign.
    """
    with writing(ws.engine) as connection:
        _set_order(connection, campaign_id, priorities, "priority", "later")
        note_event(connection, by, "priorities set", campaign_id, None, {"num_tasks": len(priorities)})


def set_worth(ws: Workspace, campaign_id: str, worths: Mapping[str, float], by: str = "") -> None:
    """Set the worth of one more label (task id → worth), which orders tasks of one priority under `worth_asking`."""
    with writing(ws.engine) as connection:
        _set_order(connection, campaign_id, worths, "worth", "dull")
        note_event(connection, by, "worths set", campaign_id, None, {"num_tasks": len(worths)})


def recount(ws: Workspace, campaign_id: str) -> None:
    """Count the labels of every task again; needed after judgments were stored without `submit`, as by an import."""
    with writing(ws.engine) as connection:
        recount_tasks(connection, campaign_id)


def recount_tasks(connection: Connection, campaign_id: str) -> None:
    """`recount` inside the caller's transaction: add turns for judgments that have none, then set all counters."""
    options = read_running(connection, campaign_id).options
    latest = _latest_labels(connection, campaign_id)
    _add_turns(connection, options, latest)
    labels = Counter(
        row["task_id"] for row in latest if not row["surplus"] and does_count(options, row["labeler_kind"])
    )
    in_campaign = TASK_STATES.c.campaign_id == campaign_id
    connection.execute(update(TASK_STATES).where(in_campaign, TASK_STATES.c.num_done > 0).values(num_done=0))
    rows = [{"of_task": task_id, "labels": num} for task_id, num in labels.items()]
    set_labels = update(TASK_STATES).where(TASK_STATES.c.task_id == bindparam("of_task"))
    for part in chunks(rows, CHUNK):
        connection.execute(set_labels.values(num_done=bindparam("labels")), list(part))
    settle_tasks(connection, campaign_id)


def settle_tasks(connection: Connection, campaign_id: str, wanted: int | None = None) -> None:
    """Update the tasks' states and the campaign's counters to match the labels; `wanted` first sets a new overlap."""
    columns, in_campaign = TASK_STATES.c, TASK_STATES.c.campaign_id == campaign_id
    if wanted is not None:
        connection.execute(update(TASK_STATES).where(in_campaign).values(wanted=wanted))
    met = (columns.num_done >= columns.wanted) & ~columns.is_gold
    state = case((met, "done"), else_="open")
    connection.execute(
        update(TASK_STATES).where(in_campaign).values(state=state, missing=columns.wanted - columns.num_done)
    )
    done = case((columns.state == "done", 1), else_=0)
    plain = case((columns.is_gold, 0), else_=1)
    sums = (func.coalesce(func.sum(each), 0) for each in (plain, done, columns.num_done))
    num_tasks, num_done, num_labels = connection.execute(select(*sums).where(in_campaign)).one()
    counters = {"num_tasks": int(num_tasks), "num_done": int(num_done), "num_labels": int(num_labels)}
    connection.execute(update(CAMPAIGN_STATES).where(CAMPAIGN_STATES.c.campaign_id == campaign_id).values(**counters))


def _prompts_of(connection: Connection, groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """Id of the first completion of each group → id of its prompt."""
    for number, group in enumerate(groups):
        if not group:
            raise Invalid(f"group {number}: empty", "at least one completion id")
    firsts = [group[0] for group in groups]
    return {completion.id: completion.prompt_id for completion in read_ids(connection, BY_NAME["completion"], firsts)}


def _check_size(options: CampaignOptions, number: int, group: Sequence[str]) -> None:
    if len(set(group)) < len(group):
        raise Invalid(f"group {number}: a completion is in it twice", "each completion once")
    try:
        way_named(options.way).check_size(len(group))
    except WrongAnswer as wrong:
        raise Invalid(f"group {number}: {wrong.found}", wrong.expected, wrong.do) from None


def _checked_gold(options: CampaignOptions, index: int, task: Task, answer: Answer) -> Answer:
    try:
        return checked_answer(options, len(task.completion_ids), answer_json(answer, options.way))
    except Invalid as error:
        raise Invalid(f"gold answer of group {index}: {error.found}", error.expected) from None


def _state_row(task: Task, position: int, overlap: int, gold: Answer | None) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "campaign_id": task.campaign_id,
        "position": position,
        "priority": 0.0,
        "worth": 0.0,
        "wanted": overlap,
        "num_done": 0,
        "num_held": 0,
        "state": "open",
        "is_gold": gold is not None,
        "gold": None if gold is None else answer_to_json(gold),
        "later": 0.0,
        "dull": 0.0,
        "missing": overlap,
    }


def _set_order(connection: Connection, campaign_id: str, values: Mapping[str, float], name: str, minus: str) -> None:
    in_campaign = TASK_STATES.c.campaign_id == campaign_id
    task_ids = set(connection.execute(select(TASK_STATES.c.task_id).where(in_campaign)).scalars())
    for task_id in values:
        if task_id not in task_ids:
            raise NotFound(f"no task {task_id} in this campaign", "ids of its tasks")
    rows = [{"of_task": task_id, "given": float(v), "negated": -float(v)} for task_id, v in values.items()]
    set_both = update(TASK_STATES).where(TASK_STATES.c.task_id == bindparam("of_task"))
    for part in chunks(rows, CHUNK):
        connection.execute(set_both.values({name: bindparam("given"), minus: bindparam("negated")}), list(part))


def _latest_labels(connection: Connection, campaign_id: str) -> list[RowMapping]:
    """The latest revision of every label, without decisions."""
    columns = (
        "id",
        "task_id",
        "labeler_id",
        "labeler_kind",
        "revision",
        "surplus",
        "shown_order",
        "active_ms",
        "created_at",
    )
    query = (
        select(*(JUDGMENTS.c[name] for name in columns), TASK_STATES.c.position)
        .join(TASK_STATES, TASK_STATES.c.task_id == JUDGMENTS.c.task_id)
        .where(TASK_STATES.c.campaign_id == campaign_id, ~JUDGMENTS.c.decides)
        .order_by(JUDGMENTS.c.revision)
    )
    rows = connection.execute(query).mappings()
    return list({(row["task_id"], row["labeler_id"]): row for row in rows}.values())


def _add_turns(connection: Connection, options: CampaignOptions, latest: Sequence[RowMapping]) -> None:
    """Add a submitted turn for every label that has none, so that no labeler gets the same task again."""
    if not latest:
        return
    campaign_id = connection.execute(select(TASKS.c.campaign_id).where(TASKS.c.id == latest[0]["task_id"])).scalar_one()
    turns = select(TURNS.c.task_id, TURNS.c.labeler_id).where(TURNS.c.campaign_id == campaign_id)
    existing = {tuple(row) for row in connection.execute(turns)}
    rows = [
        {
            "labeler_id": row["labeler_id"],
            "task_id": row["task_id"],
            "campaign_id": campaign_id,
            "position": row["position"],
            "state": "submitted",
            "counts": does_count(options, row["labeler_kind"]),
            "shown_order": row["shown_order"],
            "opened_at": row["created_at"],
            "draft": None,
            "skip_reason": "",
            "revision": row["revision"],
            "judgment_id": row["id"],
            "surplus": row["surplus"],
            "closed_at": row["created_at"],
            "active_ms": row["active_ms"],
            "num_pairs": 0,
            "num_ties": 0,
            "as_shown": False,
        }
        for row in latest
        if (row["task_id"], row["labeler_id"]) not in existing
    ]
    for part in chunks(rows, CHUNK):
        connection.execute(insert(TURNS), list(part))
