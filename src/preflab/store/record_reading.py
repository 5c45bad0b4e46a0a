"""Reads records from the database: by id in the given order, by column, judgments in their latest revision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, and_, func, select

from preflab.errors import PreflabError, nearest
from preflab.store.rows import Kind
from preflab.store.schema import JudgmentRow
from preflab.words import plural

CHUNK = 500
"""Ids per query; every supported database takes this many parameters."""
Item = TypeVar("Item")


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def existing_ids(connection: Connection, table: Table, ids: Sequence[str]) -> set[str]:
    """The subset of the ids that the table contains."""
    existing: set[str] = set()
    for part in chunks(ids, CHUNK):
        existing.update(connection.execute(select(table.c.id).where(table.c.id.in_(part))).scalars())
    return existing


def read_ids(connection: Connection, kind: Kind, ids: Sequence[str]) -> list[Any]:
    """The records with these ids, in this order.

    Raises:
        PreflabError: ids that are not in the table; the error names the first five.
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
    """The records whose columns equal the given values, sorted by id.

    Args:
        connection: of the transaction.
        kind: of the records.
        conditions: column → value; a list: one of its values; None: no condition.
    """
    query = select(kind.table).order_by(kind.table.c.id)
    in_values: tuple[str, list[Any]] | None = None
    for name, value in conditions.items():
        if value is None:
            continue
        if isinstance(value, str | int | float):
            query = query.where(kind.table.c[name] == value)
        elif in_values is None:
            in_values = (name, sorted(set(value)))  # queried in chunks, below
        else:
            query = query.where(kind.table.c[name].in_(list(value)))
    if in_values is None:
        return _records(connection, kind, query)
    name, values = in_values
    records = []
    for part in chunks(values, CHUNK):
        records += _records(connection, kind, query.where(kind.table.c[name].in_(part)))
    return sorted(records, key=lambda record: record.id)


def latest_revisions(connection: Connection, campaign_id: str | None) -> list[str]:
    """Ids of the latest revision of each labeler on each task, sorted by task, then labeler.

    An adjudicator's decision and the same person's judgment as a labeler are both included.
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
    """The number of rows of a table."""
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
    """Id of each record → the ids in its list, in order."""
    links: dict[str, list[str]] = {}
    for part in chunks(ids, CHUNK):
        query = select(table.c.parent_id, table.c.child_id).where(table.c.parent_id.in_(part))
        for parent_id, child_id in connection.execute(query.order_by(table.c.parent_id, table.c.position)):
            links.setdefault(parent_id, []).append(child_id)
    return links


def _some_ids(connection: Connection, table: Table) -> list[str]:
    return list(connection.execute(select(table.c.id).limit(2000)).scalars())
