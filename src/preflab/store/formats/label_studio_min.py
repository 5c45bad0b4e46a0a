"""Label Studio's JSON-MIN and CSV: one row per annotation, with the results among the task's fields."""

from __future__ import annotations

import json
from typing import Any

from preflab.store.formats.argilla import BAD, COMPLETION_WORDS, EQUAL, GOOD, PROMPTS
from preflab.store.formats.columns import blank, number, peek
from preflab.store.formats.json_rows import STRICT, Row
from preflab.store.formats.judgment_columns import tells_of_scores

OF_ANNOTATION = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
RESULTS = ("selected", "ranker", "rating", "choices")
SIDES = {"left", "right"}


def is_minimal(row: Row) -> bool:
    """Whether a row is an annotation in this form, which has neither `data` nor `annotations`."""
    is_annotation = all(not blank(peek(row, name)) for name in ("annotator", "annotation_id"))
    return is_annotation and "annotations" not in row and "data" not in row


def task_of(row: Row) -> tuple[Row, list[Row]]:
    """The row in the form of the full export: the task's data and a list of one annotation, maybe without results."""
    fields = {name: _parse_cell(row[name]) for name in row if name not in OF_ANNOTATION}
    results = {name: result for name, value in fields.items() if (result := _result(name, value, fields)) is not None}
    data = {name: value for name, value in fields.items() if name not in results}
    person = row.get("annotator")
    note = {
        "completed_by": person if isinstance(person, dict) else {"id": person},
        "created_at": row.get("created_at"),
        "lead_time": number(row.get("lead_time")) or 0,
        "result": [{"from_name": name, "value": value} for name, value in results.items()],
    }
    return data, [note]


def _parse_cell(value: Any) -> Any:
    """The object or list in a cell; any other value unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value, **STRICT)
        except (ValueError, RecursionError):
            return value
    return value


def _result(name: str, value: Any, fields: Row) -> Row | None:
    """A field as the value of a result; None if it is a field of the task."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]  # results other than choices are in a list of regions
    if isinstance(value, dict):
        return value if any(key in value for key in RESULTS) else None
    if name in PROMPTS or name.lower().startswith((*COMPLETION_WORDS, *SIDES)):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"rating": value} if tells_of_scores(name) else None
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in SIDES | EQUAL | GOOD | BAD or any(word == each.lower() for each in fields if each != name):
        return {"choices": [value.strip()]}
    return None
