"""Converts the JSON of an answer into a typed answer, or raises an error that names the field; and back.

Lists follow the task's order, not the order shown. The way of judging defines the fields (`ways`). `failed` may be
left out, and a completion marked F needs no score and no thumb.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflab.labelling.errors import Invalid
from preflab.labelling.options import CampaignOptions
from preflab.records import Answer, Way
from preflab.ways.base import WrongAnswer
from preflab.ways.registry import way_named


def checked_answer(options: CampaignOptions, num_completions: int, json: Any) -> Answer:
    """The answer in this JSON, to a task of `num_completions` completions.

    Raises:
        Invalid: a field is missing, unknown or out of range.
    """
    way = way_named(options.way)
    if not isinstance(json, Mapping):
        raise Invalid(f"answer: {json!r:.80}", "an object such as " + way.example)
    if unknown := sorted(set(map(str, json)) - way.fields):
        raise Invalid(f"answer: unknown field {unknown[0]!r}", f"only {', '.join(sorted(way.fields))}")
    try:
        answer: Answer = way.check(options, num_completions, json)
    except WrongAnswer as wrong:
        raise Invalid(wrong.found, wrong.expected) from None
    return answer


def answer_json(answer: Answer, way: Way) -> dict[str, Any]:
    """The JSON that `checked_answer` turns into this answer; it fills a form that is opened again.

    An answer given in another way of judging keeps its own fields, so that `checked_answer` refuses it.
    """
    asked = way_named(way)
    return asked.to_json(answer) if isinstance(answer, asked.answer) else answer.to_json()
