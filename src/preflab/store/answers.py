"""Converts labelers' answers to JSON and back, for the database, the archive and the exports."""

from __future__ import annotations

from typing import Any

from preflab.errors import PreflabError
from preflab.records import Answer
from preflab.ways.registry import STORED, in_words


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """The answer as JSON, without empty fields, e.g. `{"way": "ranking", "ranks": [2, 1, null]}`."""
    return {"way": answer.stored_as} | answer.to_json()


def answer_from_json(data: dict[str, Any]) -> Answer:
    """The answer that a value from `answer_to_json` describes.

    Raises:
        PreflabError: an unknown way of judging, or a missing field.
    """
    try:
        way = data["way"]
        if way not in STORED:
            raise PreflabError(f"an answer of the way {way!r}", in_words(tuple(STORED)))
        return STORED[way].from_json(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise PreflabError(
            f"an answer that cannot be read: {data!r} ({error!r})", "an answer as `answer_to_json` writes it"
        ) from None


def failed_of(answer: Answer) -> list[bool] | None:
    """For each completion whether it was marked F; None where the answer has no marks."""
    return list(answer.failures) or None
