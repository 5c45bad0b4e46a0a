"""preflab's own archive: completions, preferences or judgments, one per line, with the records that they refer to.

A line contains its prompt and completions, so that a file can be read in any workspace. Content ids are computed anew,
and a line that was edited by hand is refused. Lines of a strict export contain only ids: they can be imported only
into a workspace that has those records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from preflab.errors import PreflabError
from preflab.records import Completion, Judgment, Labeler, Preference, Prompt, Task
from preflab.store import objects
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import peek
from preflab.store.formats.fields import column, kind_of
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.rows import Record

LISTED: dict[type, str] = {Completion: "spans", Preference: "pairs", Judgment: "shown_order"}
"""Record → one of its columns with a list."""
CAME_LATER = {"decides", "shown_ms"}
"""Fields of judgments that older archives do not have."""
Named = TypeVar("Named", Prompt, Completion, Preference)


def _completion(row: Row, source: str) -> Parsed:
    completion = _check_id(Completion, _fields_of(Completion, row))
    return Parsed((*_parents(row), completion), content=completion.id)


def _preference(row: Row, source: str) -> Parsed:
    """A preference, and its parent judgments if the line contains them."""
    preference = _check_id(Preference, _fields_of(Preference, row))
    records = _parents(row)
    for each in row.get("judgments") or []:
        if not isinstance(each, dict):
            raise BadRow(f"{kind_of(each)} where a judgment should be", "an archive as it was exported")
        records += _submission(each)
    return Parsed((*records, preference), content=preference.id)


def _judgment(row: Row, source: str) -> Parsed:
    *others, judgment = _submission(row)
    assert isinstance(judgment, Judgment)
    return Parsed((*_parents(row), *others, judgment), key=(judgment.task_id, judgment.labeler_id, judgment.revision))


def _submission(row: Row) -> list[Record]:
    """A judgment, after its campaign, labeler and task if the line contains them."""
    judgment = _build(objects.judgment_from, _fields_of(Judgment, row), "a judgment")
    records: list[Record] = []
    if isinstance(row.get("campaign"), dict):
        settings = row.get("labeler_settings") or {}
        task = Task(judgment.task_id, judgment.campaign_id, judgment.prompt_id, judgment.completion_ids)
        labeler = Labeler(judgment.labeler_id, str(column(row, "labeler")), judgment.labeler_kind, settings)
        records += [_build(objects.campaign_from, row["campaign"], "a campaign"), labeler, task]
    return [*records, judgment]


def _fields_of(record: type, row: Row) -> Row:
    """The record's fields among the columns; fields in `CAME_LATER` may be missing.

    Raises:
        BadRow: cells of a table, where objects and numbers are texts.
    """
    if isinstance(peek(row, LISTED[record]), str):
        raise BadRow("an archive in cells, where objects and numbers are texts", "an archive exported as .jsonl")
    names = [each.name for each in fields(record)]
    return {name: column(row, name) for name in names if name in row or name not in CAME_LATER}


def _parents(row: Row) -> list[Record]:
    """The prompt and the completions that the line contains."""
    records: list[Record] = []
    if row.get("prompt") is not None:
        records.append(_check_id(Prompt, row["prompt"]))
    records += [_check_id(Completion, each) for each in row.get("completions") or []]
    return records


BUILDERS: dict[type, Callable[[Row], Any]] = {
    Prompt: objects.prompt_from,
    Completion: objects.completion_from,
    Preference: objects.preference_from,
}


def _check_id(record: type[Named], data: Any) -> Named:
    """Build a record and check that its id is the hash of its content."""
    name = record.__name__.lower()
    built: Named = _build(BUILDERS[record], data, f"a {name}")
    if objects.remake(built).id != built.id:
        raise BadRow(f"the id of the {name} {built.id} does not match its content", "an archive as it was exported")
    return built


def _build(build: Callable[[Row], Any], data: Any, what: str) -> Any:
    if not isinstance(data, dict):
        raise BadRow(f"{kind_of(data)} where {what} should be", "an object with its fields")
    try:
        return build(data)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadRow(f"{what} that cannot be read ({error})", "an archive as it was exported") from None
    except PreflabError as error:
        raise BadRow(error.found, error.expected) from None


COMPLETIONS = Format(
    "completions",
    "preflab's archive of completions: spans, tokens, log-probabilities",
    _completion,
    lambda row: {"spans", "model", "prompt_id"} <= set(row),
    columns="preflab's archive",
    becomes="spans, tokens, log-probabilities",
)
PREFERENCES = Format(
    "preferences",
    "preflab's archive of preferences: whole groups with ranks, pairs, scores, thumbs",
    _preference,
    lambda row: {"ranks", "pairs", "completion_ids"} <= set(row),
    columns="preflab's archive",
    becomes="whole groups: ranks, pairs, scores, thumbs",
)
JUDGMENTS = Format(
    "judgments",
    "preflab's archive of judgments: one line per revision, the source of all else",
    _judgment,
    lambda row: {"shown_order", "answer", "task_id"} <= set(row),
    columns="preflab's archive",
    becomes="every revision of every judgment",
)
