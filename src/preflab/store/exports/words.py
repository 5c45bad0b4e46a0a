"""Prompts and completions as trainers write them: a text, or turns with all they hold; the rest is dropped.

Nothing is flattened: a completion of several turns, with calls of tools or thinking is written as turns, or counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from preflab.records import Completion, Message, Prompt, Span
from preflab.store.exports.base import AsIs, Material, Row
from preflab.store.formats.columns import CONTINUE, OF_TEMPLATE
from preflab.store.formats.turns import listed_in
from preflab.store.formats.turns_in_text import begins_like_turns

NOT_TEXT = "completions that are turns, where a text is wanted"
NOT_TURNS = "completions that turns cannot hold (no words, or a part that the policy did not write)"
CHATS = "conversations, which the format has no place for"
LOOKS_LIKE_TURNS = "texts that would be read as turns"
MADE_TURNS = "texts written as one user's turn"


def turn_of(message: Message, *, openai: bool = False, learned: bool = True) -> Row:
    """One turn: role, content, and the other fields that it has.

    Args:
        message: the turn.
        openai: calls as OpenAI has them, their arguments as text and content null beside them; otherwise as chat
            templates read them, arguments as objects.
        learned: whether the policy's words are learned; an assistant's turn that is not has weight 0.
    """
    turn: Row = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, openai) for call in message.tool_calls]
        if openai and not message.content:
            turn["content"] = None
    fields = {"reasoning_content": message.reasoning, "name": message.name, "tool_call_id": message.tool_call_id}
    turn |= {name: value for name, value in fields.items() if value}
    return turn if learned or message.role != "assistant" else turn | {"weight": 0}


def _call(call: Any, openai: bool) -> Row:
    arguments = call.arguments if openai else as_is(json.loads(call.arguments))
    call_row = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    return {"id": call.id, **call_row} if call.id else call_row


def as_is(value: Any) -> Any:
    """Nested objects whose keys keep their order: that of a schema or of arguments is what a template renders."""
    if isinstance(value, dict):
        return AsIs({name: as_is(each) for name, each in value.items()})
    return [as_is(each) for each in value] if isinstance(value, list) else value


def turns_of(prompt: Prompt, *, openai: bool = False, unlearned: Sequence[int] = ()) -> list[Row]:
    """The prompt as turns; a text is one user's turn."""
    messages = prompt.messages or (Message("user", prompt.text),)
    return [turn_of(each, openai=openai, learned=place not in unlearned) for place, each in enumerate(messages)]


def template_of(prompt: Prompt) -> Row:
    """The prompt's columns that the chat template reads."""
    return {name: as_is(prompt.columns[name]) for name in OF_TEMPLATE if name in prompt.columns}


def text_of(completion: Completion) -> str | None:
    """The completion as a text; None where it is turns, or partly written by others."""
    if any(span.message is not None or not span.by_policy or span.role != "assistant" for span in completion.spans):
        return None
    return "".join(span.text for span in completion.spans)


def turns_said(completion: Completion, *, openai: bool = False) -> list[Row] | None:
    """The completion as turns that begin and end with the assistant's; None where it cannot be written so."""
    whole = text_of(completion)
    if whole is not None:
        return [turn_of(Message("assistant", whole))] if whole.strip() else None
    told = [(span.message or Message(span.role, span.text), span) for span in completion.spans]
    if any(_cannot_be_a_turn(message, span) for message, span in told) or _run_on(completion.spans):
        return None
    if told[0][0].role != "assistant" or told[-1][0].role != "assistant":
        return None
    return [turn_of(message, openai=openai, learned=span.by_policy) for message, span in told]


def _cannot_be_a_turn(message: Message, span: Span) -> bool:
    silent = not message.content.strip() and not message.tool_calls and message.role != "system"
    return silent or (span.by_policy and message.role != "assistant")


def _run_on(spans: Sequence[Span]) -> bool:
    """Whether two stretches without a turn of their own follow one another in one role: parts of a turn."""
    return any(a.message is None and b.message is None and a.role == b.role for a, b in pairwise(spans))


def asked_for(prompt: Prompt) -> str | list[Row]:
    """The prompt as a text or as turns."""
    return turns_of(prompt) if prompt.messages else prompt.text


def said_to(prompt: Prompt, completion: Completion, material: Material) -> str | list[Row] | None:
    """The completion in the prompt's form, text or turns; what that cannot hold is counted, and None."""
    if prompt.messages:
        return in_turns(completion, material)
    text = plain_text(completion, material)
    if text is not None and (reads_as_turns(text) or reads_as_turns(prompt.text)):
        material.drop(LOOKS_LIKE_TURNS)
        return None
    return text


def plain_text(completion: Completion, material: Material) -> str | None:
    """The completion as a text; counted, and None, where it is none."""
    text = text_of(completion)
    if text is None:
        material.drop(NOT_TEXT)
    return text


def in_turns(completion: Completion, material: Material, *, openai: bool = False) -> list[Row] | None:
    """The completion as turns; counted, and None, where it cannot be written so."""
    turns = turns_said(completion, openai=openai)
    if turns is None:
        material.drop(NOT_TURNS)
    return turns


def only_text(prompt: Prompt, material: Material) -> str | None:
    """The prompt as a text; counted, and None, where it is a conversation."""
    if prompt.messages:
        material.drop(CHATS)
        return None
    return prompt.text


def reads_as_turns(text: str) -> bool:
    """Whether an import would take the text for a conversation in a cell, be it one that it cannot read."""
    return begins_like_turns(text) or listed_in(text) is not text


def continues(prompt: Prompt) -> bool:
    """Whether the completion goes on within the prompt's last turn."""
    return bool(prompt.columns.get(CONTINUE))
