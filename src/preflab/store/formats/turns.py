"""Converts conversations in files to turns: texts, parts of texts, tool calls, thinking, weights.

It reads OpenAI's messages, TRL's and transformers' variants of them, ShareGPT's turns (`from`, `value`) and exchanges
(`input`, `output`). Images and turns without content are refused; unknown fields are counted as left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from preflab.records import Message, Role, ToolCall
from preflab.store.formats.json_rows import STRICT, BadRow, Row
from preflab.store.formats.turns_in_text import object_of, refuse_unread

Turns = tuple[Message, ...]

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "observation": "tool",
}
"""Role in a file → role in preflab."""
CALLING = "function_call"
"""ShareGPT's role of a turn whose text is a tool call in JSON; also OpenAI's old field for one call."""
TEXTS = ("text", "input_text", "output_text")
THOUGHTS = ("thinking", "reasoning")
"""Types of content parts with text, and with thinking."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys of a turn with the assistant's thinking."""
SAID, SPEAKER = ("content", "value"), ("role", "from")
"""Keys of a turn with its text, and with its role."""
LEARNED = ("weight", "train", "loss")
"""Keys of a turn that say whether it is learned from: 0 or 1, false or true."""
PICTURED = ("image", "image_url", "audio", "input_audio", "video")
CALLED = ("tool_use", "tool_result", "function_call", "function_call_output")
"""Types of parts with tool calls or their results (Anthropic's messages, OpenAI's responses)."""
KNOWN = {
    *SPEAKER, *SAID, "name", "tool_calls", CALLING, "tool_call_id", *LEARNED, *REASONING,
}  # fmt: skip
EXCHANGE = ("input", "output")


@dataclass(frozen=True)
class Conversation:
    """A conversation with the weights of its turns."""

    turns: Turns
    learned: tuple[bool, ...]
    """For each turn whether it may be learned from: the assistant's turns, unless the weight is 0."""
    left_out: tuple[str, ...] = ()
    """One reason for each field that a turn cannot hold."""


def conversation(value: Any, name: str) -> Conversation:
    """Read the conversation in a column: a list of turns, or of exchanges.

    Raises:
        BadRow: not a list, an unknown role, a turn without content, or content that is not text.
    """
    value = listed_in(value)
    if isinstance(value, str):
        refuse_unread(value, name)
    if not isinstance(value, list) or not value:
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "a conversation: a list of {role, content}")
    listed = _exchanges(value, name) if _is_exchange(value[0]) else value
    turns = tuple(_turn(each, f"turn {number} of {name!r}") for number, each in enumerate(listed, 1))
    learned = tuple(_is_learned(turn, each, name) for turn, each in zip(turns, listed, strict=True))
    unknown = [key for each in listed for key, held in each.items() if key not in KNOWN and held not in EMPTY]
    return Conversation(turns, learned, tuple(f"the field {key!r} of turns" for key in unknown))


EMPTY: tuple[Any, ...] = (None, "", [], {})


def listed_in(value: Any) -> Any:
    """A list of turns, from a text (JSON or Python's notation) or an object of columns; other values unchanged."""
    if isinstance(value, dict):
        return rows_of_columns(value) if any(isinstance(value.get(key), list) for key in SPEAKER) else value
    if not isinstance(value, str):
        return value
    parsed = object_of(value)
    if isinstance(parsed, dict):
        return [parsed] if is_turn(parsed) and any(key in parsed for key in (*SAID, "tool_calls")) else value
    whole = isinstance(parsed, list) and bool(parsed) and all(is_turn(each) or _is_exchange(each) for each in parsed)
    return parsed if whole else value


def rows_of_columns(value: Any) -> Any:
    """A list of objects, from an object of equally long lists (as `datasets` stores it); other values unchanged."""
    if not isinstance(value, dict) or not value or not all(isinstance(each, list) for each in value.values()):
        return value
    columns = list(value.values())
    if len({len(each) for each in columns}) > 1:
        return value
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def is_turn(value: Any) -> bool:
    """Whether a value is one turn of a conversation, in any of the supported forms."""
    return isinstance(value, dict) and any(isinstance(value.get(key), str) for key in SPEAKER)


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of turns or exchanges, by its first item."""
    value = listed_in(value)
    return isinstance(value, list) and bool(value) and (is_turn(value[0]) or _is_exchange(value[0]))


def last_speaker(value: Any) -> Role | None:
    """The role of the last turn in a list of turns; None if there is none or its role is unknown."""
    value = listed_in(value)
    if not is_conversation(value) or not isinstance(value[-1], dict):
        return None
    return "assistant" if _is_exchange(value[-1]) else ROLES.get(_speaker(value[-1]))


def kind_of(value: Any) -> str:
    """The JSON type of a value, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_exchange(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in EXCHANGE)


def _exchanges(value: list[Any], name: str) -> list[Row]:
    """The exchanges as turns: `input` is the user's, `output` the assistant's."""
    if not all(_is_exchange(each) for each in value):
        raise BadRow(f"the column {name!r} holds exchanges and other things", "input and output in every exchange")
    roles = list(zip(("user", "assistant"), EXCHANGE, strict=True))
    return [{"role": role, "content": each[key]} for each in value for role, key in roles]


def _speaker(value: Row) -> str:
    role = value.get("role")
    return str(role if isinstance(role, str) else value.get("from")).strip().lower()


def _turn(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise BadRow(f"{where} is {kind_of(value)}", '{"role": "user", "content": "…"}')
    speaker = _speaker(value)
    role = ROLES.get(speaker)
    if role is None:
        written = next((value[key] for key in SPEAKER if key in value), None)
        raise BadRow(f"the role {written!r} in {where}", f"one of {', '.join(dict.fromkeys(ROLES.values()))}")
    words = next((value[key] for key in SAID if value.get(key) is not None), None)
    if speaker == CALLING:
        return Message("assistant", "", tool_calls=_calls_in_text(words, where))
    calls = _calls(value, where)
    content, thought = _content(words, where, may_be_null=bool(calls))
    thoughts = [value[key] for key in REASONING if isinstance(value.get(key), str) and value[key]]
    reasoning = thought or (thoughts[0] if thoughts else "")
    if not content.strip() and role != "system" and not (role == "assistant" and calls):
        raise BadRow(f"{where} has no content", "words in every turn, or calls of tools in the assistant's")
    if role != "assistant" and (calls or reasoning):
        raise BadRow(
            f"{where} is the {role}'s and has {'tool_calls' if calls else 'thinking'}", "both in the assistant's"
        )
    name, call_id = ("" if (held := value.get(key)) is None else str(held) for key in ("name", "tool_call_id"))
    return Message(role, content, reasoning, calls, name, call_id)


def _content(value: Any, where: str, *, may_be_null: bool) -> tuple[str, str]:
    """(text, thinking) of a turn's content, which is a text or a list of parts."""
    if isinstance(value, str):
        return value, ""
    if value is None and may_be_null:
        return "", ""
    if not isinstance(value, list):
        raise BadRow(f"{where} has {kind_of(value)} as its content", "text, or a list of parts that are text")
    words: list[str] = []
    thoughts: list[str] = []
    for part in value:
        kind = _part_kind(part)
        text = _part_text(part, kind)
        if text is None:
            raise BadRow(f"{where} has a part of type {kind!r}", _instead_of(kind))
        (thoughts if kind in THOUGHTS else words).append(text)
    return "".join(words), "".join(thoughts)


def _instead_of(kind: str) -> str:
    if kind in CALLED:
        return "calls in the turn's `tool_calls`, and what tools said in turns with the role `tool`"
    return "parts of text: models here read text alone, images not yet"


def _part_kind(part: Any) -> str:
    """The type of a part; a text part with an image counts as an image."""
    if not isinstance(part, dict):
        return "text"
    pictured = next((key for key in PICTURED if part.get(key) not in EMPTY), None)
    return pictured or str(part.get("type", "text"))


def _part_text(part: Any, kind: str) -> str | None:
    """The text of a part; None if it is not text or thinking."""
    if isinstance(part, str):
        return part
    key = "text" if kind in TEXTS else kind if kind in THOUGHTS else ""
    text = part.get(key) if isinstance(part, dict) and key else None
    if isinstance(text, list):  # thinking may itself be a list of text parts
        inner = [_part_text(each, "text") for each in text]
        return None if any(each is None for each in inner) else "".join(each or "" for each in inner)
    return text if isinstance(text, str) else None


def _calls(value: Row, where: str) -> tuple[ToolCall, ...]:
    """The tool calls of a turn, in OpenAI's form (with `function` inside) or flat, and the old `function_call`."""
    listed = value.get("tool_calls") or []
    if isinstance(listed, str):
        listed = _parse_json(listed, f"{where} has text as tool_calls", "a list of calls")
    if isinstance(value.get(CALLING), dict):
        listed = [*listed, value[CALLING]]
    if not isinstance(listed, list):
        raise BadRow(f"{where} has {kind_of(listed)} as tool_calls", "a list of calls")
    return tuple(_call(each, where) for each in listed)


def _calls_in_text(text: Any, where: str) -> tuple[ToolCall, ...]:
    """The tool calls that a turn's text contains as JSON: one call, or a list."""
    expected = '{"name": "…", "arguments": {…}}'
    parsed = _parse_json(text, f"{where} calls a tool by text that is not JSON", expected)
    return tuple(_call(each, where) for each in (parsed if isinstance(parsed, list) else [parsed]))


def _parse_json(text: Any, found: str, expected: str) -> Any:
    try:
        return json.loads(text, **STRICT)
    except (ValueError, TypeError, RecursionError):
        raise BadRow(found, expected) from None


def _call(value: Any, where: str) -> ToolCall:
    inner = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise BadRow(f"a call without a name in {where}", '{"function": {"name": "…", "arguments": {…}}}')
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str) and arguments.strip():
        arguments = _parse_json(arguments, f"arguments that are not JSON in {where}", '{"city": "Rome"}')
    if arguments in (None, ""):
        arguments = {}
    if not isinstance(arguments, dict):
        raise BadRow(f"arguments that are {kind_of(arguments)} in {where}", 'an object such as {"city": "Rome"}')
    call_id = value.get("id")
    return ToolCall(inner["name"], json.dumps(arguments, ensure_ascii=False), "" if call_id is None else str(call_id))


def _is_learned(turn: Message, value: Row, name: str) -> bool:
    """Whether a turn is the assistant's and its weight is not 0.

    Raises:
        BadRow: a weight that is neither 0 nor 1, or a weight of 1 in a turn that is not the assistant's.
    """
    weights = [value[key] for key in LEARNED if value.get(key) is not None]
    assistant = turn.role == "assistant"
    for weight in weights:
        if weight not in (0, 1) or (weight == 1 and not assistant):
            raise BadRow(f"the weight {weight!r} of a turn in {name!r}", "0 or 1, in the assistant's turns")
    return assistant and all(weight == 1 for weight in weights)
