"""Joins rows with the same prompt into one prompt: their values of some columns become lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from preflab.errors import PreflabError
from preflab.records import Prompt


def gather_columns(prompts: Iterable[Prompt], columns: Sequence[str]) -> list[Prompt]:
    """One prompt per text or conversation, in the order of the first rows; unchanged without `columns`.

    Each of the columns becomes a list with the values of all rows that have one, equal values once. Other columns and
    the source are those of the first row. Published test sets give one row per reference: 1,500 rows of DialogSum's
    test set hold 500 dialogues. As 1,500 prompts they would make intervals too narrow by √3.

    Raises:
        PreflabError: no row has one of the columns.
    """
    if not columns:
        return list(prompts)
    rows: dict[object, list[Prompt]] = {}
    for prompt in prompts:
        rows.setdefault((prompt.text, prompt.messages), []).append(prompt)
    for name in columns:
        if not any(name in prompt.columns for same in rows.values() for prompt in same):
            known = sorted({each for same in rows.values() for prompt in same for each in prompt.columns})
            raise PreflabError(
                f"`gather` names the column `{name}`, which no prompt has",
                f"one of {', '.join(known) or 'none'}",
                "correct the name (names are those after `columns`)",
            )
    return [_joined(same, columns) for same in rows.values()]


def _joined(same: Sequence[Prompt], columns: Sequence[str]) -> Prompt:
    first = same[0]
    lists = {}
    for name in columns:
        values = [prompt.columns[name] for prompt in same if prompt.columns.get(name) is not None]
        lists[name] = [value for place, value in enumerate(values) if value not in values[:place]]
    return Prompt.make(first.text, first.messages, {**first.columns, **lists}, first.source)
