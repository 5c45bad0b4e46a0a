"""Names of columns in published files, and helpers that read a row's columns and record which were read."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

from preflab.errors import nearest
from preflab.store.formats.json_rows import BadRow, Row

PROMPTS = ("prompt", "instruction", "question", "query", "problem", "input")
"""Names of the column with the prompt; the first one present is used."""
BESIDE_INSTRUCTION = ("input", "context")
"""Names of the column with the input or context of an instruction."""
COMPLETIONS = ("completion", "response", "output", "generation")
CONVERSATIONS = ("messages", "conversations", "conversation")
SYSTEM = ("system", "system_prompt", "system_message")
WORDS = frozenset((*PROMPTS, *BESIDE_INSTRUCTION, *COMPLETIONS, *CONVERSATIONS, *SYSTEM, "text"))
"""Columns with texts or turns of a conversation."""
TOOLS, TEMPLATE, CONTINUE = "tools", "chat_template_kwargs", "continue_final_message"
OF_TEMPLATE = (TOOLS, TEMPLATE, CONTINUE)
"""Columns that the chat template reads; they belong to the prompt."""
OF_CONVERSATION = (*SYSTEM, *OF_TEMPLATE)
"""Columns that make a prompt a conversation."""
PICTURES = ("image", "images", "video", "videos", "audio", "audios")
LABELS = ("label", "kto_tag")
"""Columns that say whether a completion is good."""
ANSWERS = {
    "answer", "answers", "solution", "ground_truth", "target", "reference", "expected", "expected_answer", "gold",
    "final_answer", "correct_answer", "label", "test", "tests", "test_cases", "reward_model",
}  # fmt: skip
"""Columns with reference answers or tests, which reward functions check completions against."""
OVERALL = ("score", "rating", "reward", "grade", "quality", "overall", "overall_score", "overall_rating")
ASPECTS = (
    "helpfulness", "correctness", "coherence", "complexity", "verbosity", "honesty", "truthfulness", "harmlessness",
    "instruction_following", "instruction-following", "safety", "accuracy", "relevance", "fluency", "consistency",
    "informativeness", "toxicity", "humor", "creativity", "helpful", "harmless", "honest", "politeness", "clarity",
    "conciseness", "factuality", "faithfulness",
)  # fmt: skip
"""Criteria that published files rate completions by."""
RATED = re.compile(r"(?:score|rating|reward)s?[_-].+|.+[_-](?:score|rating|reward)s?")
NOTHING = ("n/a", "na", "nan", "none", "null")
"""Words that mean "no score"."""


class Seen(dict[str, Any]):
    """A row that records which of its columns were read, so that an import can report the use of each column."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        super().__init__(columns)
        self.read: dict[str, str] = {}
        """Column → the name that it was read as."""
        self.defaulted: frozenset[str] = frozenset()
        """Columns that the row lacks and whose value is a default."""

    def __getitem__(self, name: str) -> Any:
        self.read.setdefault(name, name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The column's value; marks the column as read."""
        self.read.setdefault(name, name)
        return super().get(name, default)

    def read_as(self, name: str, canonical: str) -> Any:
        """The column's value; marks the column as read under another name."""
        self.read[name] = canonical
        return super().__getitem__(name)


def with_defaults(row: Row, defaults: Mapping[str, Any]) -> Seen:
    """The row with a default for every column that is missing or empty in it.

    A default for the system's turn is not used if any column of `SYSTEM` has a value.
    """
    has_system = any(not blank(peek(row, name)) for name in SYSTEM)
    used = {
        name: value
        for name, value in defaults.items()
        if blank(peek(row, name)) and not (has_system and name in SYSTEM)
    }
    seen = Seen({**row, **used})
    seen.defaulted = frozenset(used)
    return seen


def is_default(row: Row, name: str) -> bool:
    """Whether a column's value is a default."""
    return name in getattr(row, "defaulted", ())


def read_as(row: Row, name: str, canonical: str) -> Any:
    """The value of a column, marked as read under another name (`Seen.read_as`)."""
    return row.read_as(name, canonical) if isinstance(row, Seen) else row[name]


def peek(row: Row, name: str) -> Any:
    """The value of a column without marking it as read; None if there is no such column."""
    return dict.get(row, name)


def has(row: Row, *names: str) -> bool:
    """Whether all of the columns are present and not null."""
    return all(peek(row, name) is not None for name in names)


def first(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of these columns that is present and not null; None without any."""
    return next((name for name in names if has(row, name)), None)


def column(row: Row, name: str) -> Any:
    """The value of a column.

    Raises:
        BadRow: no such column; the error gives the nearest name.
    """
    if name in row:
        return row[name]
    near = nearest(name, list(row))
    raise BadRow(
        f"no column {name!r} among {', '.join(row) or 'none'}",
        f"a column {name!r}"
        + (f" (near it: {near}; {rename_option(near.split(', ')[0], name)} renames it)" if near else ""),
    )


def rename_option(old: str, new: str) -> str:
    """The command-line option that renames a column, quoted for a shell."""
    return f"--column {shlex.quote(f'{old}={new}')}"


def unread(row: Row) -> Row:
    """The columns that were not read, which are kept with the record."""
    known = row.read if isinstance(row, Seen) else {}
    return {name: value for name, value in row.items() if name not in known}


def blank(value: Any) -> bool:
    """Whether a value counts as missing: null, an empty list or object, or an empty cell."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def number(value: Any) -> float | None:
    """The value as a finite number, which may be written as text; None if it is not one. Booleans are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def is_true(value: Any) -> bool:
    """Whether a value means true: true, 1, or one of them as text."""
    return str(value).strip().lower() in ("true", "1", "1.0")


def score_of(value: Any, what: str) -> float | None:
    """A score: a number, which may be written as text; None if it is missing (null, an empty cell, N/A).

    Raises:
        BadRow: anything else.
    """
    if blank(value) or (isinstance(value, str) and value.strip().lower() in NOTHING):
        return None
    score = number(value)
    if score is None:
        point = ", with a point before decimals" if isinstance(value, str) and number(value.replace(",", ".")) else ""
        raise BadRow(f"the {what} {value!r:.40}", f"a number{point}, or null where there is none")
    return score
