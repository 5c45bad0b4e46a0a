"""Columns that hold completions under names that are not read."""

from __future__ import annotations

import re
from functools import lru_cache

from preflab.store.formats.columns import COMPLETIONS, CONVERSATIONS, blank, peek
from preflab.store.formats.reading import Row

BY = (
    r"model|llm|bot|chatbot|assistant|ai|gpt\d*|chatgpt|claude|gemini|llama|sampled|generated|predicted|human|person|"
    r"expert|crowd"
)
"""Who wrote a completion, before the word for it."""
TO_CHECK = (
    r"(?!expected|reference|ref|gold|golden|target|correct|ground_truth|true|previous|tool|api|function|http|server)"
)
"""Before the words for a completion these make a column that completions are checked against, or one of a tool."""
REPLY = re.compile(
    rf"(?:{BY})_(?:response|reply|completion|output|generation|prediction|answer|text|solution)s?"
    rf"|{TO_CHECK}[a-z0-9_]+_(?:response|reply|completion|generation)"
    r"|(?:response|reply|completion|output|generation)_(?:text|content|message)"
    r"|reply|replies|generations?|predictions?|continuations?|demonstrations?|candidates|outputs|assistant"
)
"""Other names of completions; they are not read under these, and make a row more than a prompt."""
MISSPELT = {*COMPLETIONS, *CONVERSATIONS, "completions", "responses"}
"""Names that are read in small letters alone."""
ANSWER = re.compile(
    r"(?:response|answer|completion|output|reply|generation|conversation|candidate|summary|human_ref)s?"
    r"(?:[_-]?(?:\d{1,2}|[a-d])|[_-](?:[jkxy]|left|right|first|second|one|two))",
    re.IGNORECASE,
)
"""One of several completions: `response_a`, `answer1`, `candidate_left`."""


def plain_name(name: str) -> str:
    """A column's name as formats write theirs: ` Instruction Following` and `instructionFollowing` alike."""
    return re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())).lower()


def replies(row: Row) -> list[str]:
    """The columns that hold completions under names that are not read."""
    named = [name for name in row if _is_reply(name) and (name != "outputs" or "inputs" not in row)]
    return [name for name in named if isinstance(peek(row, name), str | list) and not blank(peek(row, name))]


@lru_cache(maxsize=512)
def _is_reply(name: str) -> bool:
    plain = plain_name(name)
    return REPLY.fullmatch(plain) is not None or (plain in MISSPELT and name not in MISSPELT)


def answers(row: Row) -> list[str]:
    """The columns that hold one of several completions."""
    return [name for name in row if ANSWER.fullmatch(name) and isinstance(peek(row, name), str | list)]
