"""Answers of labelers ↔ JSON, for the database, the archive and the exports alike; each way of judging has its own."""

from __future__ import annotations

from typing import Any

from preflab.errors import PreflabError
from preflab.records import Answer
from preflab.ways.registry import STORED, in_words


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """`{"way": "ranking", "ranks": [2, 1, null]}` and its like for the other ways; what is empty is left out."""
    return {"way": answer.stored_as} | answer.to_json()


def answer_from_json(data: dict[str, Any]) -> Answer:
    """The answer that `answer_to_json` wrote.

    Raises:
        PreflabError: an unknown way of judging, or a field missing.
    """
    try:
        way = data["way"]
        if way not in STORED:
            raise PreflabError(f"an answer of the way {way!r}", in_words(tuple(STORED)))
        return STORED[way].from_json(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise PreflabError(
            f"an answer that cannot be read: {data!r} ({error!r})", "what answer_to_json writes"
        ) from None


def failed_of(answer: Answer) -> list[bool] | None:
    """Which completions were marked F; None where no mark was given."""
    return list(answer.failures) or None
