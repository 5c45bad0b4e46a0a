"""Writes records to the database: many at once, parents first; storing the same record twice has no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, insert, select
from sqlalchemy.exc import IntegrityError

from preflab.errors import PreflabError
from preflab.store.record_reading import CHUNK, chunks, existing_ids, read_ids
from preflab.store.rows import BY_NAME, BY_RECORD, KINDS, Kind, Record
from preflab.store.schema import CompletionRow, JudgmentRow


def put_records(
    connection: Connection, records: Iterable[Record], on_done: Callable[[int], None] | None = None
) -> dict[str, int]:
    """Write records of any kinds inside the caller's transaction.

    Returns:
        kind → number of records that were new.

    Raises:
        PreflabError: an id that is stored with other content, or a missing parent.
    """
    by_kind: dict[str, dict[str, Any]] = {kind.name: {} for kind in KINDS}
    for record in records:
        kind = BY_RECORD.get(type(record))
        if kind is None:
            raise PreflabError(f"a record of type {type(record).__name__}", f"one of {', '.join(BY_NAME)}")
        earlier = by_kind[kind.name].setdefault(record.id, record)
        _refuse_clash(kind, earlier, record)
    return {kind.name: _put_kind(connection, kind, by_kind[kind.name], on_done) for kind in KINDS}


def _put_kind(
    connection: Connection, kind: Kind, records: Mapping[str, Any], on_done: Callable[[int], None] | None
) -> int:
    """Write the records of one kind that are not stored yet; returns their number."""
    known = read_ids(connection, kind, [*existing_ids(connection, kind.table, list(records))])
    for record in known:
        _refuse_clash(kind, record, records[record.id])
    missing = records.keys() - {record.id for record in known}
    new = [record for record in records.values() if record.id in missing]
    on_done = on_done or (lambda num: None)
    on_done(len(records) - len(new))
    for part in chunks(new, CHUNK):
        _refuse_orphans(connection, kind, part)
        _insert(connection, kind, part)
        on_done(len(part))
    return len(new)


def _insert(connection: Connection, kind: Kind, records: Sequence[Any]) -> None:
    try:
        connection.execute(insert(kind.table), [kind.to_row(record) for record in records])
    except IntegrityError as error:
        raise _describe_integrity_error(connection, kind, records, error) from error
    for field, (table, child) in kind.links.items():
        links = [
            {"parent_id": record.id, "position": position, "child_id": child_id}
            for record in records
            for position, child_id in enumerate(getattr(record, field))
        ]
        if links:
            connection.execute(insert(table), links)
        if child == "completion" and "prompt_id" in kind.parents:
            _refuse_foreign_completions(connection, kind, table, [record.id for record in records])


def _refuse_clash(kind: Kind, stored: Any, new: Any) -> None:
    if stored is new or stored == new:
        return
    different = [name for name in kind.content if _plain(getattr(stored, name)) != _plain(getattr(new, name))]
    if different:
        raise PreflabError(
            f"the {kind.name} {new.id} is stored already with another {different[0]}",
            "the same content for the same id",
            "add a new record instead of editing one; a judgment is edited by its next revision",
        )


def _plain(value: Any) -> Any:
    """The value with lists for tuples, so that a value read back from JSON equals the original."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _refuse_orphans(connection: Connection, kind: Kind, records: Sequence[Any]) -> None:
    """Refuse records with a missing parent and name it; the database's own message names only the table."""
    wanted: dict[str, dict[str, str]] = {}
    for record in records:
        for field, parent in kind.parents.items():
            wanted.setdefault(parent, {}).setdefault(getattr(record, field), record.id)
        for field, (_, parent) in kind.links.items():
            for parent_id in getattr(record, field):
                wanted.setdefault(parent, {}).setdefault(parent_id, record.id)
    for parent, ids in wanted.items():
        stored = existing_ids(connection, BY_NAME[parent].table, list(ids))
        missing = [parent_id for parent_id in ids if parent_id not in stored]
        if missing:
            raise PreflabError(
                f"the {kind.name} {ids[missing[0]]} refers to a missing {parent}: {missing[0]}"
                + (f" ({len(missing)} {parent}s are missing)" if len(missing) > 1 else ""),
                "records whose parents are stored already, or in the same call",
                f"store the {parent}s first",
            )


def _refuse_foreign_completions(connection: Connection, kind: Kind, links: Table, ids: list[str]) -> None:
    """Refuse records with completions of another prompt than their own."""
    completions = CompletionRow.__table__
    query = (
        select(links.c.parent_id, links.c.child_id)
        .join(kind.table, kind.table.c.id == links.c.parent_id)
        .join(completions, completions.c.id == links.c.child_id)
        .where(and_(completions.c.prompt_id != kind.table.c.prompt_id, links.c.parent_id.in_(ids)))
        .limit(1)
    )
    foreign = connection.execute(query).first()
    if foreign:
        raise PreflabError(
            f"the {kind.name} {foreign[0]} has the completion {foreign[1]} of another prompt",
            "completions of the prompt that is judged",
        )


def _describe_integrity_error(
    connection: Connection, kind: Kind, records: Sequence[Any], error: IntegrityError
) -> PreflabError:
    if kind.name != "judgment":
        return PreflabError(f"the database refuses a {kind.name}: {error.orig}")
    keys = [(j.task_id, j.labeler_id, j.revision) for j in records]
    twice = {key for key in keys if keys.count(key) > 1} or set(keys)
    if connection.dialect.name == "sqlite":  # PostgreSQL accepts no further query in a failed transaction
        table = JudgmentRow.__table__
        query = select(table.c.task_id, table.c.labeler_id, table.c.revision).where(
            table.c.task_id.in_([key[0] for key in keys])
        )
        twice = {tuple(row) for row in connection.execute(query)} & set(keys) or twice
    task, labeler, revision = sorted(twice)[0]
    return PreflabError(
        f"a judgment of task {task} by labeler {labeler} with revision {revision} is stored already",
        "a new revision for an edit",
        f"give it revision {revision + 1}, or leave it out",
    )
