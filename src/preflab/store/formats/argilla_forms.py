"""Converts the three forms of Argilla's records to the flattened one.

Flattened: one column per field, and `<question>.responses`, `.responses.users`, `.responses.status`. Nested (the SDK's
`to_json`): `fields`, and `responses` (question → list of {value, user_id}). Argilla 1: one column per question with a
list of {user_id, value, status}, or an object of three lists.
"""

from __future__ import annotations

from typing import Any

from preflab.store.formats.columns import Seen, peek
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.turns import kind_of

ENDING = ".responses"
OF_RECORD = ("id", "_server_id", "status")
OLD = {"user_id", "value", "status"}
"""Keys of a response of Argilla 1."""


def is_object(name: str) -> bool:
    """Whether a column holds an object or a list."""
    return name in ("fields", "responses") or name.removesuffix(".users").removesuffix(".status").endswith(ENDING)


def is_argilla(row: Row) -> bool:
    """Whether a row is a record in one of the three forms."""
    if any(name.endswith(ENDING) and kind_of(value) in ("a list", "null") for name, value in row.items()):
        return True
    return _is_nested(row) or bool(_old_questions(row))


def flatten_record(row: Row) -> Row:
    """The record in the flattened form; reading a column of it marks the column of `row` as read.

    Raises:
        BadRow: responses in none of the forms.
    """
    if _is_nested(row):
        columns: Row = {name: row[name] for name in OF_RECORD if name in row}
        columns |= row["fields"]
        for question, responses in row["responses"].items():
            columns |= _columns(question, responses)
        return Seen(columns)
    old = _old_questions(row)
    if not old:
        return row
    columns = {name: value for name, value in row.items() if name not in old}
    for question in old:
        columns |= _columns(question, row[question])
    flat = Seen(columns)
    flat.read = row.read if isinstance(row, Seen) else {}
    return flat


def _is_nested(row: Row) -> bool:
    return isinstance(peek(row, "fields"), dict) and isinstance(peek(row, "responses"), dict)


def _old_questions(row: Row) -> list[str]:
    return [name for name, value in row.items() if _is_old(value)]


def _is_old(value: Any) -> bool:
    if isinstance(value, dict):
        return set(value) >= OLD and all(isinstance(value[name], list) for name in OLD)
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and OLD >= set(value[0]) >= {
        "value", "status",
    }  # fmt: skip


def _columns(question: str, responses: Any) -> Row:
    """The three columns of a question, from its responses in another form."""
    if responses is None:
        responses = []
    if isinstance(responses, dict):
        names = [name for name in OLD if isinstance(responses.get(name), list)]
        responses = [dict(zip(names, each, strict=False)) for each in zip(*(responses[n] for n in names), strict=False)]
    if not isinstance(responses, list) or not all(isinstance(each, dict) for each in responses):
        raise BadRow(f"the responses to {question!r} are {kind_of(responses)}", "a list of {value, user_id}")
    return {
        f"{question}{ENDING}": [each.get("value") for each in responses],
        f"{question}{ENDING}.users": [each.get("user_id") for each in responses],
        f"{question}{ENDING}.status": [each.get("status") for each in responses],
    }
