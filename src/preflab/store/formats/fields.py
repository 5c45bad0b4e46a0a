"""The parts that rows of many formats have: texts, conversations, prompts, pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from preflab.errors import nearest
from preflab.records import Completion, PairOutcome, Preference, Prompt
from preflab.store.formats.reading import BadRow, Row
from preflab.store.formats.turns import Turns as Turns
from preflab.store.formats.turns import conversation
from preflab.store.formats.turns import kind_of as kind_of


def column(row: Row, name: str) -> Any:
    """The value of a column; a row without it is bad, and the nearest name is given."""
    if name in row:
        return row[name]
    near = nearest(name, list(row))
    raise BadRow(
        f"no column {name!r} among {', '.join(row) or 'none'}",
        f"a column {name!r}"
        + (f" (near it: {near}; --column {near.split(', ')[0]}={name} renames it)" if near else ""),
    )


def text(row: Row, name: str, *, empty: bool = False) -> str:
    """A column of text; blank text is bad unless `empty`."""
    value = column(row, name)
    if not isinstance(value, str):
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "text")
    if not empty and not value.strip():
        raise BadRow(f"an empty {name}", f"a {name} with something in it")
    return value


def turns(value: Any, name: str) -> Turns:
    """A conversation: a list of {role, content}."""
    return conversation(value, name).turns


def prompt_of(row: Row, name: str, source: str, columns: Row | None = None) -> Prompt:
    """The prompt in a column: text, or a conversation whose last turn waits for the assistant."""
    value = column(row, name)
    if isinstance(value, list):
        return prompt_of_turns(turns(value, name), name, source, columns)
    return Prompt.make(text=text(row, name), columns=columns, source=source)


def prompt_of_turns(conversation: Turns, name: str, source: str, columns: Row | None = None) -> Prompt:
    """A prompt of a conversation, which must not be empty nor end with the assistant's turn."""
    if not conversation or not conversation[-1].content.strip():
        raise BadRow(f"an empty prompt in {name!r}", "a prompt with something in its last turn")
    if conversation[-1].role == "assistant":
        raise BadRow(
            f"the prompt in {name!r} ends with the assistant's turn", "a prompt that ends with the user's turn"
        )
    return Prompt.make(messages=conversation, columns=columns, source=source)


def completion_text(value: Any, name: str) -> str:
    """A completion in a column: text, or a conversation of the assistant's one turn."""
    if isinstance(value, str):
        return value
    conversation = turns(value, name)
    if len(conversation) != 1 or conversation[0].role != "assistant":
        raise BadRow(f"{len(conversation)} turns in {name!r}", "text, or one turn of the assistant")
    return conversation[0].content


def others(row: Row, *names: str) -> Row:
    """The columns that the format does not know: they stay with the record."""
    return {name: value for name, value in row.items() if name not in names}


def imported(prompt: Prompt, words: str, model: str, index: int = 0, columns: Row | None = None) -> Completion:
    """A completion that came from a file: how it ended is not known."""
    return Completion.make(prompt.id, words, model, index=index, finish_reason="imported", columns=columns or {})


def one_pair(prompt: Prompt, chosen: Completion, rejected: Completion, source: str) -> Preference:
    """What one row of chosen and rejected says."""
    pairs = (PairOutcome(0, 1, 1.0, 0.0, 0.0),)
    return Preference.make(prompt.id, (chosen.id, rejected.id), (1, 2), pairs=pairs, source=source)


def pairs_of_ranks(ranks: Sequence[int | None]) -> tuple[PairOutcome, ...]:
    """All pairs of a ranking, ties included, F left out; the decided ones weigh 1 / their number."""
    ranked = [(index, rank) for index, rank in enumerate(ranks) if rank is not None]
    pairs = [(a, b, rank_a, rank_b) for (a, rank_a), (b, rank_b) in combinations(ranked, 2)]
    weight = 1.0 / max(1, sum(rank_a != rank_b for _, _, rank_a, rank_b in pairs))
    return tuple(
        PairOutcome(a, b, float(rank_a < rank_b), float(rank_a > rank_b), float(rank_a == rank_b), weight)
        for a, b, rank_a, rank_b in pairs
    )


def ranks_of_scores(scores: Sequence[float]) -> tuple[int, ...]:
    """Ranks from 1 for the highest score; equal scores share a rank, and the next rank follows at once."""
    order = sorted(set(scores), reverse=True)
    return tuple(order.index(score) + 1 for score in scores)
