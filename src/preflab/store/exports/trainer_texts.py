"""Converts prompts and completions to the text or the turns that trainers read.

Turns are never flattened to text: a completion with several turns, tool calls or thinking is written as turns, or
dropped and counted.
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
        openai: write tool calls as OpenAI does, with arguments as text and null for empty content; otherwise as chat
            templates read them, with arguments as objects.
        learned: whether the turn is learned from; an assistant's turn that is not gets weight 0.
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
    """The value with nested objects as `AsIs`: templates render schemas and arguments in the order of their keys."""
    if isinstance(value, dict):
        return AsIs({name: as_is(each) for name, each in value.items()})
    return [as_is(each) for each in value] if isinstance(value, list) else value


def turns_of(prompt: Prompt, *, openai: bool = False, unlearned: Sequence[int] = ()) -> list[Row]:
    """The prompt as turns; a text becomes one user's turn."""
    messages = prompt.messages or (Message("user", prompt.text),)
    return [turn_of(each, openai=openai, learned=place not in unlearned) for place, each in enumerate(messages)]


def template_of(prompt: Prompt) -> Row:
    """The prompt's columns that the chat template reads."""
    return {name: as_is(prompt.columns[name]) for name in OF_TEMPLATE if name in prompt.columns}


def text_of(completion: Completion) -> str | None:
    """The completion as a text; None if it has turns or parts that the policy did not write."""
    if any(span.message is not None or not span.by_policy or span.role != "assistant" for span in completion.spans):
        return None
    return "".join(span.text for span in completion.spans)


def turns_said(completion: Completion, *, openai: bool = False) -> list[Row] | None:
    """The completion as turns that begin and end with the assistant's; None if that is impossible."""
    whole = text_of(completion)
    if whole is not None:
        return [turn_of(Message("assistant", whole))] if whole.strip() else None
    turns = [(span.message or Message(span.role, span.text), span) for span in completion.spans]
    if any(_cannot_be_a_turn(message, span) for message, span in turns) or _has_split_turn(completion.spans):
        return None
    if turns[0][0].role != "assistant" or turns[-1][0].role != "assistant":
        return None
    return [turn_of(message, openai=openai, learned=span.by_policy) for message, span in turns]


def _cannot_be_a_turn(message: Message, span: Span) -> bool:
    silent = not message.content.strip() and not message.tool_calls and message.role != "system"
    return silent or (span.by_policy and message.role != "assistant")


def _has_split_turn(spans: Sequence[Span]) -> bool:
    """Whether two neighbouring spans without turns have the same role, so that they are parts of one turn."""
    return any(a.message is None and b.message is None and a.role == b.role for a, b in pairwise(spans))


def asked_for(prompt: Prompt) -> str | list[Row]:
    """The prompt as a text, or as turns if it is a conversation."""
    return turns_of(prompt) if prompt.messages else prompt.text


def write_completion(prompt: Prompt, completion: Completion, material: Material) -> str | list[Row] | None:
    """The completion in the prompt's form, text or turns; None, counted as dropped, if that is impossible."""
    if prompt.messages:
        return in_turns(completion, material)
    text = plain_text(completion, material)
    if text is not None and (reads_as_turns(text) or reads_as_turns(prompt.text)):
        material.drop(LOOKS_LIKE_TURNS)
        return None
    return text


def plain_text(completion: Completion, material: Material) -> str | None:
    """The completion as a text; None, counted as dropped, if it is not one."""
    text = text_of(completion)
    if text is None:
        material.drop(NOT_TEXT)
    return text


def in_turns(completion: Completion, material: Material, *, openai: bool = False) -> list[Row] | None:
    """The completion as turns; None, counted as dropped, if that is impossible."""
    turns = turns_said(completion, openai=openai)
    if turns is None:
        material.drop(NOT_TURNS)
    return turns


def only_text(prompt: Prompt, material: Material) -> str | None:
    """The prompt as a text; None, counted as dropped, if it is a conversation."""
    if prompt.messages:
        material.drop(CHATS)
        return None
    return prompt.text


def reads_as_turns(text: str) -> bool:
    """Whether an import would take the text for turns in a cell, readable or not."""
    return begins_like_turns(text) or listed_in(text) is not text


def continues(prompt: Prompt) -> bool:
    """Whether the completion continues the prompt's last turn."""
    return bool(prompt.columns.get(CONTINUE))
