"""Reads priorities of prompts from a file: one row per prompt; prompts with a higher priority are judged first.

    {"prompt": "Where is my parcel?", "priority": 2}
    prompt,priority                                                                            CSV, the same columns

A conversation is a list of turns, or their text: `user: …`, with an empty line between turns. Other columns are
ignored.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

from preflab.labelling.errors import Invalid
from preflab.store.formats.fields import column, kind_of, prompt_of
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.row_reading import numbered_rows, unit_of
from preflab.store.workspace import Workspace


def read_priorities(ws: Workspace, campaign_id: str, path: Path) -> dict[str, float]:
    """Read a file of priorities: task id → priority, for all tasks of its prompts. An error about a row names its line.

    Raises:
        PreflabError: no such file, no rows, a row without prompt or priority, or a prompt that the campaign does not
            have or that occurs twice.
    """
    tasks, unit = _tasks_by_prompt(ws, campaign_id), unit_of(path)
    lines: dict[str, int] = {}
    priorities: dict[str, float] = {}
    for numbered in numbered_rows(path):
        where = f"{path}, {unit} {numbered.line}"
        try:
            if isinstance(numbered.row, BadRow):
                raise numbered.row
            prompt = prompt_of(numbered.row, "prompt", where).shown
            if prompt not in tasks:
                raise BadRow(f"no task has the prompt {prompt!r:.80}", "a prompt of this campaign")
            if prompt in lines:
                raise BadRow(f"the prompt of {unit} {lines[prompt]} again", "each prompt once")
            priority = _priority(numbered.row)
        except BadRow as bad:
            raise Invalid(f"{where}: {bad.found}", bad.expected, "correct it; nothing was changed") from None
        lines[prompt] = numbered.line
        priorities |= dict.fromkeys(tasks[prompt], priority)
    if not priorities:
        raise Invalid(f"{path}: no rows", "at least one prompt with its priority", "check that it is the right file")
    return priorities


def _tasks_by_prompt(ws: Workspace, campaign_id: str) -> dict[str, list[str]]:
    """Text of a prompt as it is shown → ids of its tasks; side by side, a prompt can have several tasks."""
    tasks = ws.tasks(campaign_id=campaign_id)
    shown = {prompt.id: prompt.shown for prompt in ws.prompts(sorted({task.prompt_id for task in tasks}))}
    by_prompt: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        by_prompt[shown[task.prompt_id]].append(task.id)
    return by_prompt


def _priority(row: Row) -> float:
    """The priority in a row: a finite number, which CSV holds as text."""
    value = column(row, "priority")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadRow(f"the column 'priority' holds {kind_of(value)}", "a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadRow(f"the priority {value!r:.40}", "a finite number; higher comes first")
    return number
