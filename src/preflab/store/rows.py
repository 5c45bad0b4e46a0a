"""Converts records to table rows and back: for each kind of record its table, link tables and the two conversions.

Two records with one id must have equal `content` fields; the other fields (a prompt's source, log-probabilities) may
differ, and the first record is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sqlalchemy import Table

from preflab.records import (
    Campaign,
    Completion,
    Evaluation,
    Judgment,
    Labeler,
    Message,
    PairOutcome,
    Preference,
    Prompt,
    Span,
    Task,
)
from preflab.store import schema
from preflab.store.answers import answer_from_json, answer_to_json

Record = Prompt | Completion | Labeler | Campaign | Task | Judgment | Preference | Evaluation
Row = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """How one kind of record is stored in the database."""

    record: type
    name: str
    """The noun in error messages and counts, e.g. `prompt`."""
    table: Table
    to_row: Callable[[Any], Row]
    from_row: Callable[[Mapping[str, Any]], Any]
    links: Mapping[str, tuple[Table, str]]
    """Field with a list of record ids → (its link table, the kind of those records)."""
    parents: Mapping[str, str]
    """Field with the id of one other record → the kind of that record."""
    content: tuple[str, ...]
    """Fields that must be equal if the ids are equal."""


def _table(row: type[schema.Base]) -> Table:
    table = row.__table__
    assert isinstance(table, Table)
    return table


def pair_list(pairs: tuple[PairOutcome, ...]) -> list[list[float]]:
    """Pairs as JSON: [[first, second, num_for, num_against, num_tie, weight], …]."""
    return [[p.first, p.second, *map(float, (p.num_for, p.num_against, p.num_tie, p.weight))] for p in pairs]


def _prompt_row(p: Prompt) -> Row:
    return {
        "id": p.id,
        "text": p.text,
        "messages": [message.parts for message in p.messages],
        "columns": dict(p.columns),
        "source": p.source,
    }


def _prompt(row: Mapping[str, Any]) -> Prompt:
    messages = tuple(Message.from_parts(parts) for parts in row["messages"])
    return Prompt(row["id"], row["text"], messages, row["columns"], row["source"])


def _completion_row(c: Completion) -> Row:
    return {
        "id": c.id,
        "prompt_id": c.prompt_id,
        "spans": [span.parts for span in c.spans],
        "model": c.model,
        "seed": str(c.seed),
        "index": c.index,
        "finish_reason": c.finish_reason,
        "token_ids": np.asarray(c.token_ids, dtype="<i4").tobytes(),
        "logps": np.asarray(c.logps, dtype="<f8").tobytes(),
        "temperature": float(c.temperature),
        "columns": dict(c.columns),
    }


def _completion(row: Mapping[str, Any]) -> Completion:
    return Completion(
        id=row["id"],
        prompt_id=row["prompt_id"],
        spans=tuple(Span.from_parts(parts) for parts in row["spans"]),
        model=row["model"],
        seed=int(row["seed"]),
        index=row["index"],
        finish_reason=row["finish_reason"],
        token_ids=tuple(np.frombuffer(row["token_ids"], dtype="<i4").tolist()),
        logps=tuple(np.frombuffer(row["logps"], dtype="<f8").tolist()),
        temperature=row["temperature"],
        columns=row["columns"],
    )


def _preference_row(p: Preference) -> Row:
    return {
        "id": p.id,
        "prompt_id": p.prompt_id,
        "ranks": list(p.ranks),
        "pairs": pair_list(p.pairs),
        "scores": {criterion: list(values) for criterion, values in p.scores.items()},
        "thumbs": list(p.thumbs),
        "source": p.source,
    }


def _preference(row: Mapping[str, Any]) -> Preference:
    return Preference(
        id=row["id"],
        prompt_id=row["prompt_id"],
        completion_ids=row["completion_ids"],
        ranks=tuple(row["ranks"]),
        pairs=tuple(PairOutcome(int(first), int(second), *rest) for first, second, *rest in row["pairs"]),
        judgment_ids=row["judgment_ids"],
        scores={criterion: tuple(values) for criterion, values in row["scores"].items()},
        thumbs=tuple(row["thumbs"]),
        source=row["source"],
    )


def _judgment_row(j: Judgment) -> Row:
    row = _plain_row(j, leave_out=("completion_ids",))
    return row | {"shown_order": list(j.shown_order), "answer": answer_to_json(j.answer)}


def _judgment(row: Mapping[str, Any]) -> Judgment:
    return Judgment(**{**row, "shown_order": tuple(row["shown_order"]), "answer": answer_from_json(row["answer"])})


def _campaign_row(c: Campaign) -> Row:
    ends = {criterion: list(words) for criterion, words in c.scale_ends.items()}
    return _plain_row(c) | {"criteria": list(c.criteria), "scale_ends": ends}


def _campaign(row: Mapping[str, Any]) -> Campaign:
    ends = {criterion: tuple(words) for criterion, words in row["scale_ends"].items()}
    return Campaign(**{**row, "criteria": tuple(row["criteria"]), "scale_ends": ends})


def _labeler_row(labeler: Labeler) -> Row:
    return _plain_row(labeler) | {"settings": dict(labeler.settings)}


def _labeler(row: Mapping[str, Any]) -> Labeler:
    return Labeler(**row)


def _task_row(task: Task) -> Row:
    return _plain_row(task, leave_out=("completion_ids",))


def _task(row: Mapping[str, Any]) -> Task:
    return Task(**row)


def _evaluation_row(evaluation: Evaluation) -> Row:
    row = _plain_row(evaluation, leave_out=("completion_ids",))
    return row | {name: float(row[name]) for name in ("value", "low", "high")}


def _evaluation(row: Mapping[str, Any]) -> Evaluation:
    return Evaluation(**row)


def _plain_row(record: Any, leave_out: tuple[str, ...] = ()) -> Row:
    """The record's fields by name, without those in `leave_out`."""
    return {f.name: getattr(record, f.name) for f in fields(record) if f.name not in leave_out}


def _every_field(record: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(record))


KINDS: tuple[Kind, ...] = (
    Kind(
        Prompt,
        "prompt",
        _table(schema.PromptRow),
        _prompt_row,
        _prompt,
        links={},
        parents={},
        content=("text", "messages", "columns"),
    ),
    Kind(
        Completion,
        "completion",
        _table(schema.CompletionRow),
        _completion_row,
        _completion,
        links={},
        parents={"prompt_id": "prompt"},
        content=("prompt_id", "spans", "model", "seed", "index", "token_ids"),
    ),
    Kind(
        Labeler,
        "labeler",
        _table(schema.LabelerRow),
        _labeler_row,
        _labeler,
        links={},
        parents={},
        content=_every_field(Labeler),
    ),
    Kind(
        Campaign,
        "campaign",
        _table(schema.CampaignRow),
        _campaign_row,
        _campaign,
        links={},
        parents={},
        content=("way", "question", "polarity", "criteria"),  # other fields may change while it runs
    ),
    Kind(
        Task,
        "task",
        _table(schema.TaskRow),
        _task_row,
        _task,
        links={"completion_ids": (schema.TASK_COMPLETIONS, "completion")},
        parents={"campaign_id": "campaign", "prompt_id": "prompt"},
        content=_every_field(Task),
    ),
    Kind(
        Judgment,
        "judgment",
        _table(schema.JudgmentRow),
        _judgment_row,
        _judgment,
        links={"completion_ids": (schema.JUDGMENT_COMPLETIONS, "completion")},
        parents={"campaign_id": "campaign", "task_id": "task", "prompt_id": "prompt", "labeler_id": "labeler"},
        content=_every_field(Judgment),
    ),
    Kind(
        Preference,
        "preference",
        _table(schema.PreferenceRow),
        _preference_row,
        _preference,
        links={
            "completion_ids": (schema.PREFERENCE_COMPLETIONS, "completion"),
            "judgment_ids": (schema.PREFERENCE_JUDGMENTS, "judgment"),
        },
        parents={"prompt_id": "prompt"},
        content=("prompt_id", "completion_ids", "ranks", "pairs", "scores", "thumbs"),
    ),
    Kind(
        Evaluation,
        "evaluation",
        _table(schema.EvaluationRow),
        _evaluation_row,
        _evaluation,
        links={"completion_ids": (schema.EVALUATION_COMPLETIONS, "completion")},
        parents={},
        content=_every_field(Evaluation),
    ),
)
"""In the order of writing: parents before children."""

BY_RECORD: dict[type, Kind] = {kind.record: kind for kind in KINDS}
BY_NAME: dict[str, Kind] = {kind.name: kind for kind in KINDS}
