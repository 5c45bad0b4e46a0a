"""Helpers shared by many formats: columns, texts, prompts, completions, pairs, ranks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from preflab.records import Completion, FinishReason, PairOutcome, Preference, Prompt, Span
from preflab.store.formats.asked import Spans, read_question
from preflab.store.formats.columns import OF_TEMPLATE, SYSTEM
from preflab.store.formats.columns import column as column
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.turns import kind_of as kind_of
from preflab.store.formats.turns_in_text import refuse_unread


def text(row: Row, name: str, *, empty: bool = False) -> str:
    """The text in a column.

    Raises:
        BadRow: no such column, not a text, a blank text (unless `empty`), or turns in a text that cannot be parsed.
    """
    value = column(row, name)
    if not isinstance(value, str):
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "text")
    if not empty and not value.strip():
        raise BadRow(f"an empty {name}", f"a {name} with something in it")
    refuse_unread(value, name)
    return value


def prompt_of(row: Row, name: str, source: str, columns: Row | None = None, *, chat: bool = False) -> Prompt:
    """The prompt in a column: text, or a conversation whose last turn waits for the assistant.

    The row's system turn and the template's columns always belong to it, even if they are not in `columns`. With `chat`
    a text becomes one user's turn.
    """
    kept = {key: value for key, value in (columns or {}).items() if key not in (*SYSTEM, *OF_TEMPLATE)}
    return read_question(row, (name,)).prompt(source, kept, chat=chat)


def others(row: Row, *names: str) -> Row:
    """The columns other than these names, which are kept with the record."""
    return {name: value for name, value in row.items() if name not in names}


def imported(
    prompt: Prompt,
    words: str | Spans,
    model: str,
    index: int = 0,
    columns: Row | None = None,
    finish_reason: FinishReason = "imported",
) -> Completion:
    """A completion from a file, given as a text or as spans."""
    spans = (Span(words),) if isinstance(words, str) else words
    known = columns or {}
    return Completion.make(prompt.id, "", model, index=index, finish_reason=finish_reason, columns=known, spans=spans)


def one_pair(
    prompt: Prompt,
    chosen: Completion,
    rejected: Completion,
    source: str,
    votes: float = 1.0,
    ties: float = 0.0,
    **other: Any,
) -> Preference:
    """A preference over two completions: `votes` rows say that the first is better, `ties` rows that neither is."""
    pairs = (PairOutcome(0, 1, votes, 0.0, ties),)
    ranks = (1, 2) if votes else (1, 1)
    return Preference.make(prompt.id, (chosen.id, rejected.id), ranks, pairs=pairs, source=source, **other)


def pairs_of_ranks(ranks: Sequence[int | None]) -> tuple[PairOutcome, ...]:
    """All pairs of a ranking, with ties but without F; each has weight 1 / (number of decided pairs)."""
    ranked = [(index, rank) for index, rank in enumerate(ranks) if rank is not None]
    pairs = [(a, b, rank_a, rank_b) for (a, rank_a), (b, rank_b) in combinations(ranked, 2)]
    weight = 1.0 / max(1, sum(rank_a != rank_b for _, _, rank_a, rank_b in pairs))
    return tuple(
        PairOutcome(a, b, float(rank_a < rank_b), float(rank_a > rank_b), float(rank_a == rank_b), weight)
        for a, b, rank_a, rank_b in pairs
    )


def ranks_of_scores(scores: Sequence[float]) -> tuple[int, ...]:
    """Ranks from 1 for the highest score; equal scores share a rank, and no rank is skipped."""
    order = sorted(set(scores), reverse=True)
    return tuple(order.index(score) + 1 for score in scores)
