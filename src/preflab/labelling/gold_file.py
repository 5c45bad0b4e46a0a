"""Reads gold tasks (tasks with a known answer) from a file: per row a prompt, completions and the answer's API fields.

{"prompt": "Where is my parcel?", "completions": ["It left on Monday.", "No idea."], "ranks": [1, 2]}
{"prompt": "Where is my parcel?", "completions": ["It left on Monday.", "No idea."], "choice": "first"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preflab.labelling.checks import checked_answer
from preflab.labelling.errors import Invalid
from preflab.labelling.options import CampaignOptions
from preflab.records import Answer, Completion, Prompt
from preflab.store.formats.asked import completion_of, spans_of
from preflab.store.formats.fields import column, imported, kind_of, prompt_of
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.row_reading import numbered_rows, unit_of
from preflab.ways.registry import way_named

MODEL = "gold"
"""The model name stored with the completions of gold tasks."""


@dataclass(frozen=True)
class Gold:
    """Gold tasks, with their prompts, completions and answers."""

    prompts: tuple[Prompt, ...]
    completions: tuple[Completion, ...]
    groups: tuple[tuple[str, ...], ...]
    """Completion ids, one tuple per task."""
    answers: tuple[Answer, ...]
    """The known answer of each task."""

    def numbered_from(self, first: int) -> Mapping[int, Answer]:
        """Index of the group → answer, if these groups come after `first` other groups."""
        return dict(enumerate(self.answers, first))


NONE = Gold((), (), (), ())


def read_gold(path: Path, options: CampaignOptions) -> Gold:
    """Read the gold tasks of a file; an error about a row names its line.

    Raises:
        PreflabError: no such file, or a row whose answer does not fit the way of judging.
    """
    prompts: dict[str, Prompt] = {}
    completions: dict[str, Completion] = {}
    groups, answers = [], []
    for numbered in numbered_rows(path):
        where = f"{path}, {unit_of(path)} {numbered.line}"
        try:
            if isinstance(numbered.row, BadRow):
                raise numbered.row
            prompt, options_of_task, answer = _task(numbered.row, options, where)
        except BadRow as bad:
            raise Invalid(f"{where}: {bad.found}", bad.expected, "correct it; nothing was loaded") from None
        except Invalid as wrong:
            raise Invalid(f"{where}: {wrong.found}", wrong.expected, "correct it; nothing was loaded") from None
        prompts[prompt.id] = prompt
        completions |= {completion.id: completion for completion in options_of_task}
        groups.append(tuple(completion.id for completion in options_of_task))
        answers.append(answer)
    if not groups:
        raise Invalid(f"{path}: no rows", "at least one task with its answer", "check that it is the right file")
    return Gold(tuple(prompts.values()), tuple(completions.values()), tuple(groups), tuple(answers))


def _task(row: Row, options: CampaignOptions, where: str) -> tuple[Prompt, list[Completion], Answer]:
    values = column(row, "completions")
    if not isinstance(values, list) or not values:
        raise BadRow(f"the column 'completions' holds {kind_of(values)}", "a list of texts")
    contents = [completion_of(value, "completions") for value in values]
    prompt = prompt_of(row, "prompt", where, chat=any(words.turns for words in contents))
    completions = [imported(prompt, spans_of(words), MODEL, index) for index, words in enumerate(contents)]
    fields = {name: row[name] for name in way_named(options.way).fields if name in row}
    return prompt, completions, checked_answer(options, len(completions), fields)
