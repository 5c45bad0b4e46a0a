"""Finds columns that hold completions under names that no format reads."""

from __future__ import annotations

import re
from functools import lru_cache

from preflab.store.formats.columns import ANSWERS, COMPLETIONS, CONVERSATIONS, PROMPTS, blank, has, number, peek
from preflab.store.formats.json_rows import Row

ASKING = tuple(name for name in PROMPTS if name != "input")
"""Names of prompts without `input`, which may be the input of an instruction."""
BY = (
    r"model|llm|bot|chatbot|assistant|ai|gpt\d*|chatgpt|claude|gemini|llama|sampled|generated|predicted|human|person|"
    r"expert|crowd"
)
"""Writers of a completion, before the word for it (`human_answer`)."""
TO_CHECK = (
    r"(?!expected|reference|ref|gold|golden|target|correct|ground_truth|true|previous|tool|api|function|http|server)"
)
"""With these before the word for a completion, a column holds a reference answer or a tool's output instead."""
REPLY = re.compile(
    rf"(?:{BY})_(?:response|reply|completion|output|generation|prediction|answer|text|solution)s?"
    rf"|{TO_CHECK}[a-z0-9_]+_(?:response|reply|completion|generation)"
    r"|(?:response|reply|completion|output|generation)_(?:text|content|message)"
    r"|reply|replies|generations?|predictions?|continuations?|demonstrations?|candidates|outputs|assistant"
    r"|(?!last|first|max|num|n_|previous)(?:[a-z0-9_]+_)?attempts?"
)
"""Other names of completions. They are not read, but a row with one of them is not just a prompt."""
BESIDE_PROMPT = re.compile(
    r"text|content|code|story|summary|essay|article|poem|post|email|letter|translation|paraphrase|rewrite|"
    r"(?:generated|synthetic|model|llm|gpt\d*)_(?:code|story|summary|content|essay|article|poem|post)"
)
"""Names of completions if the row has a prompt; without a prompt they are texts, or the passage of a question."""
MISSPELT = {*COMPLETIONS, *CONVERSATIONS, "completions", "responses"}
"""Names that are only read in lower case."""
ANSWER = re.compile(
    r"(?:response|answer|completion|output|reply|generation|conversation|candidate|summary|human_ref)s?"
    r"(?:[_-]?(?:\d{1,2}|[a-d])|[_-](?:[jkxy]|left|right|first|second|one|two))",
    re.IGNORECASE,
)
"""Name of one of several completions: `response_a`, `answer1`, `candidate_left`."""


def plain_name(name: str) -> str:
    """A column's name in lower case with underscores: `instruction_following` for ` Instruction Following`."""
    return re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())).lower()


def replies(row: Row) -> list[str]:
    """The columns that hold completions under names that no format reads."""
    named = [name for name in row if _is_reply(name) and (name != "outputs" or "inputs" not in row)]
    filled = [name for name in named if isinstance(peek(row, name), str | list) and not blank(peek(row, name))]
    return [name for name in filled if number(peek(row, name)) is None or not _may_be_counter(name)] + _written(row)


def _may_be_counter(name: str) -> bool:
    """Whether a number in the column may be a counter and not a completion: `attempt`."""
    return plain_name(name).endswith(("attempt", "attempts"))


def _written(row: Row) -> list[str]:
    """The columns with texts that were written in reply to a prompt (`BESIDE_PROMPT`).

    [] if the row has a reference answer: then they belong to the question (a passage, a solution in code).
    """
    if not any(has(row, name) for name in ASKING) or any(has(row, name) for name in ANSWERS - {"label"}):
        return []
    return [name for name in row if BESIDE_PROMPT.fullmatch(plain_name(name)) and _is_prose(name, peek(row, name))]


def _is_prose(name: str, value: object) -> bool:
    """Whether a column holds a text; in a column `code` it needs several words, as `en` and `E17` are codes, too."""
    if not isinstance(value, str) or not value.strip() or number(value) is not None:
        return False
    return plain_name(name) != "code" or len(value.split()) > 1


@lru_cache(maxsize=512)
def _is_reply(name: str) -> bool:
    plain = plain_name(name)
    return REPLY.fullmatch(plain) is not None or (plain in MISSPELT and name not in MISSPELT)


def answers(row: Row) -> list[str]:
    """The columns that hold one of several completions."""
    return [name for name in row if ANSWER.fullmatch(name) and isinstance(peek(row, name), str | list)]
