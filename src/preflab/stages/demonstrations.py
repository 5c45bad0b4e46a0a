"""Rows of `demonstrations.jsonl`: what a stage wrote for prompts, as stage `sft` and `preflab import` read it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preflab.records import Completion, Prompt


def demonstration_row(prompt: Prompt, completion: Completion) -> dict[str, Any]:
    """`prompt`, `completion` and `finish_reason`, with the prompt's own columns.

    Turns have all their fields (calls of tools, thinking, names), so that the row is read as the records it is made of.
    """
    from preflab.store.exports.trainer_texts import asked_for, template_of, text_of, turns_said

    text = text_of(completion)
    content = turns_said(completion) if text is None else text
    row = {**prompt.columns, **template_of(prompt), "prompt": asked_for(prompt), "completion": content}
    return {**row, "finish_reason": completion.finish_reason}


def demonstration_lines(pairs: Iterable[tuple[Prompt, Completion]]) -> str:
    """The rows of prompts and their completions as JSON lines."""
    return "".join(json.dumps(demonstration_row(*pair), ensure_ascii=False) + "\n" for pair in pairs)
