"""Rows of `demonstrations.jsonl`: prompts with a stage's completions, readable by stage `sft` and `preflab import`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preflab.records import Completion, Prompt


def demonstration_row(prompt: Prompt, completion: Completion) -> dict[str, Any]:
    """A row of `prompt`, `completion` and `finish_reason`, with the prompt's own columns.

    Turns keep all their fields (tool calls, thinking, names), so that reading the row gives the same records again.
    """
    from preflab.store.exports.trainer_texts import asked_for, template_of, text_of, turns_said

    text = text_of(completion)
    content = turns_said(completion) if text is None else text
    row = {**prompt.columns, **template_of(prompt), "prompt": asked_for(prompt), "completion": content}
    return {**row, "finish_reason": completion.finish_reason}


def demonstration_lines(pairs: Iterable[tuple[Prompt, Completion]]) -> str:
    """One JSON line per prompt and its completion, see `demonstration_row`."""
    return "".join(json.dumps(demonstration_row(*pair), ensure_ascii=False) + "\n" for pair in pairs)
