"""Converts records to JSON objects with one key per field and back, for the archive's lines and the snapshots' rows.

`to_object` is `dataclasses.asdict` without the empty fields of turns and spans; an answer names its way of judging.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from preflab.records import (
    Campaign,
    Completion,
    Judgment,
    Labeler,
    Message,
    PairOutcome,
    Preference,
    Prompt,
    Span,
    Task,
    ToolCall,
)
from preflab.store.answers import answer_from_json, answer_to_json

Object = dict[str, Any]


def to_object(record: Prompt | Completion | Preference | Campaign | Task | Labeler | Judgment) -> Object:
    """The record's fields as an object; tuples become lists once it is written as JSON."""
    if isinstance(record, Judgment):
        return asdict(record) | {"answer": answer_to_json(record.answer)}
    if isinstance(record, Prompt):
        return asdict(record) | {"messages": [message_object(message) for message in record.messages]}
    if isinstance(record, Completion):
        return asdict(record) | {"spans": [span_object(span) for span in record.spans]}
    return asdict(record)


def message_object(message: Message) -> Object:
    """A turn as an object: role, content, and the other fields that are not empty."""
    return {name: value for name, value in asdict(message).items() if value or name in ("role", "content")}


def span_object(span: Span) -> Object:
    """A span as an object: text, by_policy, role, and its turn if it has one."""
    plain = {"text": span.text, "by_policy": span.by_policy, "role": span.role}
    return plain | ({"message": message_object(span.message)} if span.message else {})


def message_from(data: Object) -> Message:
    """The turn that an object describes."""
    return Message(**data | {"tool_calls": tuple(ToolCall(**call) for call in data.get("tool_calls") or ())})


def span_from(data: Object) -> Span:
    """The span that an object describes."""
    turn = data.get("message")
    return Span(**data | {"message": message_from(turn) if turn else None})


def prompt_from(data: Object) -> Prompt:
    """The prompt that an object describes."""
    return Prompt(**data | {"messages": tuple(message_from(turn) for turn in data["messages"])})


def completion_from(data: Object) -> Completion:
    """The completion that an object describes."""
    return Completion(
        **data
        | {
            "spans": tuple(span_from(span) for span in data["spans"]),
            "token_ids": tuple(data["token_ids"]),
            "logps": tuple(data["logps"]),
        }
    )


def preference_from(data: Object) -> Preference:
    """The preference that an object describes."""
    return Preference(
        **data
        | {
            "completion_ids": tuple(data["completion_ids"]),
            "ranks": tuple(data["ranks"]),
            "pairs": tuple(PairOutcome(**pair) for pair in data["pairs"]),
            "judgment_ids": tuple(data["judgment_ids"]),
            "scores": {criterion: tuple(values) for criterion, values in data["scores"].items()},
            "thumbs": tuple(data["thumbs"]),
        }
    )


def campaign_from(data: Object) -> Campaign:
    """The campaign that an object describes."""
    ends = {criterion: (low, high) for criterion, (low, high) in data.get("scale_ends", {}).items()}
    return Campaign(**data | {"criteria": tuple(data["criteria"]), "scale_ends": ends})


def judgment_from(data: Object) -> Judgment:
    """The judgment that an object describes."""
    return Judgment(
        **data
        | {
            "completion_ids": tuple(data["completion_ids"]),
            "shown_order": tuple(data["shown_order"]),
            "answer": answer_from_json(data["answer"]),
        }
    )


def remake(record: Prompt | Completion | Preference) -> Prompt | Completion | Preference:
    """A record of the same content with its id computed anew; the ids differ if the record was edited."""
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__ if name != "id"}
    if isinstance(record, Completion):
        return Completion.make(text="", **fields)
    return type(record).make(**fields)
