"""Records out of the database: by ids in the given order, by parent, judgments in their latest revision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, and_, func, select

from preflab.errors import PreflabError, nearest
from preflab.store.rows import Kind
from preflab.store.schema import JudgmentRow
from preflab.words import plural

CHUNK = 500
"""Ids per query; every database takes so many parameters."""
Item = TypeVar("Item")


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def existing_ids(connection: Connection, table: Table, ids: Sequence[str]) -> set[str]:
    """Those of the ids that the table holds."""
    existing: set[str] = set()
    for part in chunks(ids, CHUNK):
        existing.update(connection.execute(select(table.c.id).where(table.c.id.in_(part))).scalars())
    return existing


def read_ids(connection: Connection, kind: Kind, ids: Sequence[str]) -> list[Any]:
    """The records of these ids, in this order.

    Raises:
        PreflabError: ids that are not there, named.
    """
    by_id: dict[str, Any] = {}
    for part in chunks(list(dict.fromkeys(ids)), CHUNK):
        records = _records(connection, kind, select(kind.table).where(kind.table.c.id.in_(part)))
        by_id.update((record.id, record) for record in records)
    missing = [record_id for record_id in dict.fromkeys(ids) if record_id not in by_id]
    if missing:
        near = nearest(missing[0], _some_ids(connection, kind.table))
        raise PreflabError(
            f"{len(missing):,} {plural(len(missing), kind.name + ' id')} not in the workspace: "
            f"{', '.join(missing[:5])}",
            f"ids near {missing[0]}: {near}" if near else f"ids of stored {kind.name}s",
            "import or sample them first, or open the workspace they are in",
        )
    return [by_id[record_id] for record_id in ids]


def read_where(connection: Connection, kind: Kind, conditions: Mapping[str, Any]) -> list[Any]:
    """The records whose columns equal the given values (a list: one of them), sorted by id; None is no condition."""
    query = select(kind.table).order_by(kind.table.c.id)
    listed: tuple[str, list[Any]] | None = None
    for name, value in conditions.items():
        if value is None:
            continue
        if isinstance(value, str | int | float):
            query = query.where(kind.table.c[name] == value)
        elif listed is None:
            listed = (name, sorted(set(value)))
        else:
            query = query.where(kind.table.c[name].in_(list(value)))
    if listed is None:
        return _records(connection, kind, query)
    name, values = listed
    records = []
    for part in chunks(values, CHUNK):
        records += _records(connection, kind, query.where(kind.table.c[name].in_(part)))
    return sorted(records, key=lambda record: record.id)


def latest_revisions(connection: Connection, campaign_id: str | None) -> list[str]:
    """Ids of the judgments that count: the last revision of each labeler on each task, by task, then labeler.

    What an adjudicator decides stands beside what the same person said as a labeler.
    """
    table = JudgmentRow.__table__
    newest = (
        select(table.c.task_id, table.c.labeler_id, func.max(table.c.revision).label("revision"))
        .group_by(table.c.task_id, table.c.labeler_id, table.c.decides)
        .subquery()
    )
    query = select(table.c.id).join(
        newest,
        and_(
            table.c.task_id == newest.c.task_id,
            table.c.labeler_id == newest.c.labeler_id,
            table.c.revision == newest.c.revision,
        ),
    )
    if campaign_id is not None:
        query = query.where(table.c.campaign_id == campaign_id)
    return list(connection.execute(query.order_by(table.c.task_id, table.c.labeler_id, table.c.decides)).scalars())


def count(connection: Connection, table: Table) -> int:
    """How many rows a table holds."""
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _records(connection: Connection, kind: Kind, query: Select[Any]) -> list[Any]:
    rows = [dict(row) for row in connection.execute(query).mappings()]
    ids = [row["id"] for row in rows]
    for field, (table, _) in kind.links.items():
        links = _links(connection, table, ids)
        for row in rows:
            row[field] = tuple(links.get(row["id"], ()))
    return [kind.from_row(row) for row in rows]


def _links(connection: Connection, table: Table, ids: Sequence[str]) -> dict[str, list[str]]:
    links: dict[str, list[str]] = {}
    for part in chunks(ids, CHUNK):
        query = select(table.c.parent_id, table.c.child_id).where(table.c.parent_id.in_(part))
        for parent_id, child_id in connection.execute(query.order_by(table.c.parent_id, table.c.position)):
            links.setdefault(parent_id, []).append(child_id)
    return links


def _some_ids(connection: Connection, table: Table) -> list[str]:
    return list(connection.execute(select(table.c.id).limit(2000)).scalars())
