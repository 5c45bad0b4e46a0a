"""preflab's own JSONL: prompts, demonstrations, and plain texts."""

from __future__ import annotations

from preflab.records import Prompt
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.fields import (
    column,
    completion_text,
    imported,
    others,
    prompt_of,
    prompt_of_turns,
    text,
    turns,
)
from preflab.store.formats.reading import BadRow, Row

DEMONSTRATION = "demonstration"
"""The model of completions that people wrote as examples."""
PAIR_COLUMNS = {"chosen", "rejected", "completion", "completions"}


def _prompt(row: Row, source: str) -> Parsed:
    name = "messages" if "messages" in row and "prompt" not in row else "prompt"
    prompt = prompt_of(row, name, source, columns=others(row, name))
    return Parsed((prompt,), key=(prompt.text, prompt.messages))


def _demonstration(row: Row, source: str) -> Parsed:
    if "messages" in row and "prompt" not in row:
        prompt, words = _split_messages(row, source)
    else:
        prompt = prompt_of(row, "prompt", source)
        words = completion_text(column(row, "completion"), "completion")
    if not words.strip():
        raise BadRow("an empty completion", "a completion to learn from")
    known = others(row, "prompt", "completion", "messages")
    completion = imported(prompt, words, DEMONSTRATION, columns=known)
    return Parsed((prompt, completion), demonstrations=(completion.id,))  # one that stands twice counts twice


def _split_messages(row: Row, source: str) -> tuple[Prompt, str]:
    conversation = turns(row["messages"], "messages")
    if conversation[-1].role != "assistant" or len(conversation) < 2:
        raise BadRow("a conversation that does not end with the assistant's turn", "the answer to learn as last turn")
    return prompt_of_turns(conversation[:-1], "messages", source), conversation[-1].content


def _text(row: Row, source: str) -> Parsed:
    """A text to learn from is a completion of the empty prompt."""
    words = text(row, "text")
    prompt = Prompt.make(text="", source="the empty prompt of plain texts")
    completion = imported(prompt, words, DEMONSTRATION, columns=others(row, "text"))
    return Parsed((prompt, completion), key=completion.id, demonstrations=(completion.id,))


def _ends_with_assistant(row: Row) -> bool:
    messages = row.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") == "assistant"


PROMPTS = Format(
    "prompts",
    "prompt (text) or prompt/messages (turns); every other column goes along",
    _prompt,
    lambda row: (
        ("prompt" in row or ("messages" in row and not _ends_with_assistant(row))) and not PAIR_COLUMNS & set(row)
    ),
)
DEMONSTRATIONS = Format(
    "demonstrations",
    "prompt and completion to learn from, or messages that end with the assistant's turn",
    _demonstration,
    lambda row: (
        ({"prompt", "completion"} <= set(row) and "label" not in row)
        or ("prompt" not in row and _ends_with_assistant(row))
    ),
)
TEXT = Format(
    "text", "text alone, for language modelling", _text, lambda row: "text" in row and not {"prompt", "role"} & set(row)
)
