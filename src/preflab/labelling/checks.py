"""What a page or a script sends as an answer → a typed answer, or an error that names the field; and back.

Lists are aligned with the task's order, not with the order shown. What the JSON holds is the way of judging's own
(`ways`); `failed` may be left out, and a completion marked F needs no score and no thumb.
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
    """The answer of this JSON to a task with so many completions.

    Raises:
        Invalid: a field that is missing, unknown or out of range.
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
    """The JSON that `checked_answer` turns into this answer: what fills a form that is opened again.

    An answer to another way of judging keeps its own fields, by which `checked_answer` refuses it.
    """
    asked = way_named(way)
    return asked.to_json(answer) if isinstance(answer, asked.answer) else answer.to_json()
