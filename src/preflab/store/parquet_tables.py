"""Converts prompts, completions and preferences to rows of Parquet tables and back, for snapshots; with the schemas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from preflab.records import Completion, Message, Preference, Prompt, Span
from preflab.store.database import to_json
from preflab.store.objects import completion_from, preference_from, span_object
from preflab.store.rows import pair_list

Row = dict[str, Any]

SPAN = pa.struct([("text", pa.string()), ("by_policy", pa.bool_()), ("role", pa.string()), ("parts", pa.string())])
"""`parts`: the whole span as JSON (`Span.parts`) if it has a turn; else null. The `parts` of `messages` are alike."""
PROMPTS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("parts", pa.string())]))),
        ("columns", pa.string()),
        ("source", pa.string()),
    ]
)
COMPLETIONS = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("spans", pa.list_(SPAN)),
        ("model", pa.string()),
        ("seed", pa.string()),
        ("index", pa.int32()),
        ("finish_reason", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("logps", pa.list_(pa.float64())),
        ("temperature", pa.float64()),
        ("columns", pa.string()),
    ]
)
PAIR = pa.struct(
    [
        ("first", pa.int32()),
        ("second", pa.int32()),
        ("num_for", pa.float64()),
        ("num_against", pa.float64()),
        ("num_tie", pa.float64()),
        ("weight", pa.float64()),
    ]
)
PREFERENCES = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("completion_ids", pa.list_(pa.string())),
        ("ranks", pa.list_(pa.int32())),
        ("pairs", pa.list_(PAIR)),
        ("judgment_ids", pa.list_(pa.string())),
        ("scores", pa.string()),
        ("thumbs", pa.list_(pa.float64())),
        ("source", pa.string()),
    ]
)


def prompt_rows(prompts: Sequence[Prompt]) -> list[Row]:
    """One row per prompt; columns as JSON."""
    return [
        {
            "id": p.id,
            "text": p.text,
            "messages": [{"role": m.role, "content": m.content, "parts": _parts(m, 2)} for m in p.messages],
            "columns": to_json(dict(p.columns), sort_keys=True),
            "source": p.source,
        }
        for p in prompts
    ]


def prompt_of(row: Row) -> Prompt:
    """The prompt of a row of `prompt_rows`; rows of older snapshots have no `parts`."""
    turns = [
        Message.from_parts(json.loads(m["parts"]) if m.get("parts") else (m["role"], m["content"]))
        for m in row["messages"]
    ]
    return Prompt(**row | {"messages": tuple(turns), "columns": json.loads(row["columns"])})


def completion_rows(completions: Sequence[Completion]) -> list[Row]:
    """One row per completion: spans, tokens and log-probabilities."""
    return [
        {
            "id": c.id,
            "prompt_id": c.prompt_id,
            "spans": [
                {"text": s.text, "by_policy": s.by_policy, "role": s.role, "parts": _parts(s, 3)} for s in c.spans
            ],
            "model": c.model,
            "seed": str(c.seed),
            "index": c.index,
            "finish_reason": c.finish_reason,
            "token_ids": list(c.token_ids),
            "logps": [float(logp) for logp in c.logps],
            "temperature": float(c.temperature),
            "columns": to_json(dict(c.columns), sort_keys=True),
        }
        for c in completions
    ]


def completion_of(row: Row) -> Completion:
    """The completion of a row of `completion_rows`."""
    spans = [
        span_object(
            Span.from_parts(json.loads(s["parts"]) if s.get("parts") else (s["text"], s["by_policy"], s["role"]))
        )
        for s in row["spans"]
    ]
    return completion_from(row | {"spans": spans, "seed": int(row["seed"]), "columns": json.loads(row["columns"])})


def _parts(item: Message | Span, num_plain: int) -> str | None:
    """The parts of a turn or span as JSON; None if it has only the first `num_plain`, which have their own columns."""
    return to_json(item.parts) if len(item.parts) > num_plain else None


def preference_rows(preferences: Sequence[Preference]) -> list[Row]:
    """One row per preference: ranks (null for F), pairs, scores as JSON."""
    names = [field.name for field in PAIR]
    return [
        {
            "id": p.id,
            "prompt_id": p.prompt_id,
            "completion_ids": list(p.completion_ids),
            "ranks": list(p.ranks),
            "pairs": [dict(zip(names, pair, strict=True)) for pair in pair_list(p.pairs)],
            "judgment_ids": list(p.judgment_ids),
            "scores": to_json({name: list(values) for name, values in p.scores.items()}, sort_keys=True),
            "thumbs": [None if share is None else float(share) for share in p.thumbs],
            "source": p.source,
        }
        for p in preferences
    ]


def preference_of(row: Row) -> Preference:
    """The preference of a row of `preference_rows`."""
    return preference_from(row | {"scores": json.loads(row["scores"])})


SCHEMAS: dict[str, pa.Schema] = {"prompts": PROMPTS, "completions": COMPLETIONS, "preferences": PREFERENCES}
