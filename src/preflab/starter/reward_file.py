"""The Python file of a first recipe whose reward is computed from answers instead of learned."""

from __future__ import annotations

import keyword
from collections.abc import Sequence

from preflab.records import Prompt
from preflab.rewards.library import answer_of, numeric_answer

MODULE = "answer_rewards"
TEXT = '''"""The rewards of {recipe}: does a completion give the right answer? Adapt them to your answers.

Each function gets one completion and the column `{column}` of its prompt.
"""

from preflab.rewards.library import answer_of, {library}


def correct(completion: str, {column}) -> float:
    """The training reward: 1 if {rule}, else 0."""
    return {library}(completion, {given})


def stated(completion: str, {column}) -> float:
    """A stricter judge, not used in training: 1 if the last line is exactly the answer, else 0."""
    lines = completion.strip().splitlines()
    return float(bool(lines) and lines[-1].strip() == answer_of(str({column})).strip())
'''


def are_numbers(prompts: Sequence[Prompt], column: str) -> bool:
    """Whether every answer contains a number to compare with."""
    try:
        for prompt in prompts:
            numeric_answer("", answer_of(str(prompt.columns[column])))
    except (ValueError, KeyError):
        return False
    return True


def answer_functions(column: str, *, numbers: bool, recipe: str) -> str:
    """The text of the file, for the name of the answer column."""
    assert column.isidentifier()
    assert not keyword.iskeyword(column)
    rule = "the last number of the answer is the right one" if numbers else "the answer is the right one, case aside"
    return TEXT.format(
        recipe=recipe, column=column, library="numeric_answer" if numbers else "exact_answer", rule=rule,
        given=f"answer_of(str({column}))",
    )  # fmt: skip
