"""Conversations as they stand in files → turns: texts, parts of texts, calls of tools, thinking, weights.

Read are OpenAI's messages, TRL's and transformers' variants of them. What a turn cannot hold is refused (images, no
content) or counted as left out (fields nobody here knows).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from preflab.records import Message, Role, ToolCall
from preflab.store.formats.reading import BadRow, Row

Turns = tuple[Message, ...]

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""What files call a role → what it is here."""
TEXTS = ("text", "input_text", "output_text")
THOUGHTS = ("thinking", "reasoning")
"""Types of content parts that are words, and of those that are thinking."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys of a turn that hold what the assistant thought."""
KNOWN = {"role", "content", "name", "tool_calls", "function_call", "tool_call_id", "weight", *REASONING}


@dataclass(frozen=True)
class Conversation:
    """A conversation, and what was seen beside it."""

    turns: Turns
    learned: tuple[bool, ...]
    """Whether each turn may be learned: the assistant's, unless its `weight` is 0."""
    left_out: tuple[str, ...] = ()
    """What has no place in a turn, each by a reason."""


def conversation(value: Any, name: str) -> Conversation:
    """A column's conversation: a list of turns.

    Raises:
        BadRow: no list, an unknown role, a turn without content, content that is no text.
    """
    if not isinstance(value, list) or not value:
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "a conversation: a list of {role, content}")
    turns = tuple(_turn(each, f"turn {number} of {name!r}") for number, each in enumerate(value, 1))
    learned = tuple(
        turn.role == "assistant" and _weight(each, name) > 0 for turn, each in zip(turns, value, strict=True)
    )
    unknown = [
        key for each in value for key, held in each.items() if key not in KNOWN and held not in (None, "", [], {})
    ]
    return Conversation(turns, learned, tuple(f"the field {key!r} of turns" for key in unknown))


def kind_of(value: Any) -> str:
    """A value's kind in JSON's words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _turn(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise BadRow(f"{where} is {kind_of(value)}", '{"role": "user", "content": "…"}')
    role = ROLES.get(value.get("role"))  # type: ignore[arg-type]
    if role is None:
        raise BadRow(f"the role {value.get('role')!r} in {where}", f"one of {', '.join(dict.fromkeys(ROLES.values()))}")
    calls = _calls(value, where)
    content, thought = _content(value.get("content"), where, may_be_null=bool(calls))
    given = [value[key] for key in REASONING if isinstance(value.get(key), str) and value[key]]
    reasoning = thought or (given[0] if given else "")
    if not content.strip() and role != "system" and not (role == "assistant" and calls):
        raise BadRow(f"{where} has no content", "words in every turn, or calls of tools in the assistant's")
    if role != "assistant" and (calls or reasoning):
        raise BadRow(
            f"{where} is the {role}'s and has {'tool_calls' if calls else 'thinking'}", "both in the assistant's"
        )
    names = [value.get(key) for key in ("name", "tool_call_id")]
    speaker, call_id = ("" if each is None else str(each) for each in names)
    return Message(role, content, reasoning, calls, speaker, call_id)


def _content(value: Any, where: str, *, may_be_null: bool) -> tuple[str, str]:
    """(words, thinking) of a turn's content: a text, or a list of parts."""
    if isinstance(value, str):
        return value, ""
    if value is None and may_be_null:
        return "", ""
    if not isinstance(value, list):
        raise BadRow(f"{where} has {kind_of(value)} as its content", "text, or a list of parts that are text")
    words: list[str] = []
    thoughts: list[str] = []
    for part in value:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        text = _part_text(part, kind)
        if text is None:
            raise BadRow(
                f"{where} has a part of type {kind!r}", "parts of text: models here read text alone, images not yet"
            )
        (thoughts if kind in THOUGHTS else words).append(text)
    return "".join(words), "".join(thoughts)


def _part_text(part: Any, kind: str) -> str | None:
    """The text of a part; None where it is none."""
    if isinstance(part, str):
        return part
    key = "text" if kind in TEXTS else kind if kind in THOUGHTS else ""
    found = part.get(key) if isinstance(part, dict) and key else None
    if isinstance(found, list):  # thinking that is itself a list of parts of text
        inner = [_part_text(each, "text") for each in found]
        return None if any(each is None for each in inner) else "".join(each or "" for each in inner)
    return found if isinstance(found, str) else None


def _calls(value: Row, where: str) -> tuple[ToolCall, ...]:
    """The calls of tools, in OpenAI's form (`function` inside) or flat; the old `function_call` is one call."""
    listed = value.get("tool_calls") or []
    if isinstance(value.get("function_call"), dict):
        listed = [*listed, value["function_call"]]
    if not isinstance(listed, list):
        raise BadRow(f"{where} has {kind_of(listed)} as tool_calls", "a list of calls")
    return tuple(_call(each, where) for each in listed)


def _call(value: Any, where: str) -> ToolCall:
    inner = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise BadRow(f"a call without a name in {where}", '{"function": {"name": "…", "arguments": {…}}}')
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        text = arguments
    else:
        text = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    call_id = value.get("id")
    return ToolCall(inner["name"], text, "" if call_id is None else str(call_id))


def _weight(value: Row, name: str) -> float:
    weight = value.get("weight")
    if weight is None:
        return 1.0
    if weight not in (0, 1) or value.get("role") != "assistant":
        raise BadRow(f"the weight {weight!r} of a turn in {name!r}", "0 or 1, in the assistant's turns")
    return float(weight)
