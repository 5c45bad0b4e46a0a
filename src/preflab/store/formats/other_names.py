"""Columns that hold completions under names that are not read."""

from __future__ import annotations

import re

from preflab.store.formats.columns import blank, peek
from preflab.store.formats.reading import Row

REPLY = re.compile(
    r"(?:model|llm|bot|chatbot|assistant|ai|gpt\d*|chatgpt|sampled|generated|predicted)[_-]"
    r"(?:response|reply|completion|output|generation|prediction|answer|text|solution)s?"
    r"|reply|replies|generations?|predictions?|continuations?|demonstrations?|candidates|outputs|assistant"
)
"""Other names of completions; they are not read under these, and make a row more than a prompt."""
ANSWER = re.compile(r"(?:response|answer|completion|output|reply|generation|conversation)s?[_-]?(?:\d{1,2}|[a-dA-D])")
"""One of several completions: `response_a`, `answer1`, `completion_2`."""


def plain_name(name: str) -> str:
    """A column's name as formats write theirs: ` Instruction Following` → instruction_following."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def replies(row: Row) -> list[str]:
    """The columns that hold completions under names that are not read."""
    named = [name for name in row if REPLY.fullmatch(name) and (name != "outputs" or "inputs" not in row)]
    return [name for name in named if isinstance(peek(row, name), str | list) and not blank(peek(row, name))]


def answers(row: Row) -> list[str]:
    """The columns that hold one of several completions."""
    return [name for name in row if ANSWER.fullmatch(name) and isinstance(peek(row, name), str | list)]
