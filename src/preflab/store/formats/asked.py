"""What a row asks, and what is said to it: a text or turns, with the columns that the chat template reads.

One rule for all formats. A `system` column is a system turn. A text is one user's turn as soon as the row is a
conversation: by a system turn, by tools, or because a completion is given as turns. A text given as completion of a
conversation is the assistant's turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from preflab.records import Message, Prompt, Span, spans_of_turns
from preflab.store.formats.columns import (
    BESIDE_INSTRUCTION,
    CONTINUE,
    CONVERSATIONS,
    PICTURES,
    PROMPTS,
    SYSTEM,
    TEMPLATE,
    TOOLS,
    blank,
    column,
    has,
    is_default,
    peek,
    read_as,
    rename_option,
)
from preflab.store.formats.json_rows import STRICT, BadRow, Row, object_in
from preflab.store.formats.turns import Conversation, Turns, conversation, is_turn, kind_of, listed_in
from preflab.store.formats.turns_in_text import refuse_unread
from preflab.words import count

Spans = tuple[Span, ...]
OLDER_TOOLS = ("functions", "available_tools")
"""Columns that hold what `tools` does, each function with or without its type around it."""
BETWEEN = "\n\n"
"""Between an instruction and what it is about."""


@dataclass(frozen=True)
class Words:
    """A text, or turns."""

    text: str = ""
    turns: Turns = ()
    learned: tuple[bool, ...] = ()
    """Of turns: whether each may be learned."""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What a row asks, before it is known whether its completions are texts or turns."""

    words: Words
    name: str
    """The column, for errors."""
    template: Row = field(default_factory=dict)
    """Columns that the chat template reads."""

    @property
    def chat(self) -> bool:
        """Whether it is a conversation whatever the completions are."""
        return bool(self.words.turns or self.template)

    @property
    def turns(self) -> Turns:
        """The conversation; a text is the user's turn."""
        return self.words.turns or (Message("user", self.words.text),)

    def prompt(self, source: str, columns: Row | None = None, *, chat: bool = False) -> Prompt:
        """The prompt.

        Args:
            source: file and line.
            columns: those that belong to the prompt, beside the template's.
            chat: whether it is to be a conversation, because a completion is turns.

        Raises:
            BadRow: it is empty, or ends with the assistant's turn without `continue_final_message`.
        """
        if not self.chat and not chat:
            return Prompt.make(text=self.words.text, columns=columns, source=source)
        return self.with_turns(self.turns, source, columns)

    def with_turns(self, turns: Turns, source: str, columns: Row | None = None) -> Prompt:
        """The prompt of these turns, with the template's columns; see `prompt` for the errors."""
        check_prompt(turns, self.name, continued=bool(self.template.get(CONTINUE)))
        return Prompt.make(messages=turns, columns={**(columns or {}), **self.template}, source=source)


def asked(row: Row, names: Sequence[str] = PROMPTS) -> Asked:
    """The prompt of a row, under one of these names.

    Raises:
        BadRow: none or several of them, an empty one, or columns of the template that cannot be read.
    """
    name = _named(row, names)
    words = words_of(read_as(row, name, names[0]), name)
    if not words.turns and not words.text.strip():
        raise BadRow(f"an empty {name}", f"{'an' if name[0] in 'aeiou' else 'a'} {name} with something in it")
    if name == "instruction":
        words = _with_what_it_is_about(row, words)
    return Asked(_after_system(row, words, name), name, template_of(row))


def asked_of_turns(row: Row, turns: Turns, name: str) -> Asked:
    """The prompt that these turns are, with the row's system turn and columns of the template."""
    return Asked(_after_system(row, Words(turns=turns), name), name, template_of(row))


def _named(row: Row, names: Sequence[str]) -> str:
    """The column that holds the prompt: the first name where it stands there, else the only other one."""
    there = [name for name in names if has(row, name)]
    if not there:
        column(row, next((name for name in names if name in row), names[0]))
        return next(name for name in names if name in row)
    rivals = [name for name in there if not (there[0] == "instruction" and name in BESIDE_INSTRUCTION)]
    if len(rivals) > 1 and there[0] != names[0]:
        raise BadRow(
            f"{' and '.join(rivals)} could both be the prompt", f"one of them ({rename_option(rivals[0], names[0])})"
        )
    return there[0]


def words_of(value: Any, name: str) -> Words:
    """A value as text or turns; turns may stand in a cell, as JSON or as Python writes them.

    Raises:
        BadRow: it is neither, or a text of turns that cannot be read.
    """
    value = listed_in(value)
    if isinstance(value, str):
        refuse_unread(value, name)
        return Words(value)
    if is_turn(value):
        value = [value]
    if not isinstance(value, list):
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "text")
    read: Conversation = conversation(value, name)
    return Words("", read.turns, read.learned, read.left_out)


def _with_what_it_is_about(row: Row, words: Words) -> Words:
    """The instruction with its `input` or `context`, and the exchanges of `history` before it.

    Raises:
        BadRow: one of them is no text, stands beside an instruction of turns, or is no list of exchanges.
    """
    for name in BESIDE_INSTRUCTION:
        value = row.get(name)
        if blank(value) or (isinstance(value, str) and not value.strip()):
            continue
        if not isinstance(value, str) or words.turns:
            raise BadRow(f"the column {name!r} holds {kind_of(value)}", "text, beside an instruction that is text")
        words = Words(f"{words.text}{BETWEEN}{value}")
    history = object_in(turns) if isinstance(turns := row.get("history"), str) else turns
    if blank(history):
        return words
    if not isinstance(history, list) or not all(_is_two(each) for each in history) or words.turns:
        raise BadRow(f"the column 'history' holds {kind_of(history)}", "a list of [question, answer], before a text")
    turns = [{"role": role, "content": each[n]} for each in history for n, role in enumerate(("user", "assistant"))]
    before = conversation(turns, "history")
    return Words("", (*before.turns, Message("user", words.text)), (*before.learned, False))


def _is_two(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _after_system(row: Row, words: Words, name: str) -> Words:
    """The words after the system turn of a column of its own.

    Raises:
        BadRow: no text, or another one than the system turn that the conversation has (which a default gives way to).
    """
    there = next((each for each in SYSTEM if not blank(peek(row, each))), None)
    for each in SYSTEM:
        if blank(peek(row, each)):
            row.get(each)  # read, and nothing in it
    if there is None:
        return words
    system = read_as(row, there, SYSTEM[0])
    if not isinstance(system, str):
        raise BadRow(f"the column {there!r} holds {kind_of(system)}", "text: the system's turn")
    if not system.strip():
        return words
    turns = words.turns or (Message("user", words.text),)
    if turns[0].role == "system":
        if turns[0].content.strip() != system.strip() and not is_default(row, there):
            raise BadRow(f"{name} begins with another system turn than the column {there!r}", "one system turn")
        return words
    learned = words.learned or (False,) * len(turns)
    return Words("", (Message("system", system), *turns), (False, *learned), words.left_out)


def template_of(row: Row) -> Row:
    """The columns that the chat template reads; what is empty is left out.

    Raises:
        BadRow: `tools` that are no list of objects or differ from an older column of them, `chat_template_kwargs` that
            are no object, or another value than true or false for `continue_final_message`.
    """
    columns: Row = {}
    if not blank(tools := _tools_of(row)):
        columns[TOOLS] = tools
    arguments = _json_in(row.get(TEMPLATE), TEMPLATE)
    if not blank(arguments):
        if not isinstance(arguments, dict):
            raise BadRow(f"the column {TEMPLATE!r} holds {kind_of(arguments)}", "an object of the template's arguments")
        columns[TEMPLATE] = arguments
    goes_on = row.get(CONTINUE)
    if not blank(goes_on):
        if str(goes_on).lower() not in ("true", "false"):
            raise BadRow(f"the column {CONTINUE!r} holds {goes_on!r:.40}", "true or false")
        if str(goes_on).lower() == "true":
            columns[CONTINUE] = True
    return columns


def _tools_of(row: Row) -> Any:
    """The tools of a row: its `tools`, or those of an older column in the same form."""
    tools = _json_in(row.get(TOOLS), TOOLS)
    tools = [tools] if isinstance(tools, dict) and tools else tools
    if not blank(tools) and (not isinstance(tools, list) or not all(isinstance(each, dict) for each in tools)):
        raise BadRow(f"the column {TOOLS!r} holds {kind_of(tools)}", "a list of JSON schemas, one per function")
    for name in OLDER_TOOLS:
        listed = object_in(held) if isinstance(held := peek(row, name), str) else held
        if not isinstance(listed, list) or not listed or not all(_is_tool(each) for each in listed):
            continue  # functions of another kind, which stay a column
        older = [_as_tool(each) for each in listed]
        read_as(row, name, TOOLS)
        if not blank(tools) and [_as_tool(each) for each in tools] != older:
            raise BadRow(f"{name!r} and {TOOLS!r} hold different functions", "one of them, or the same in both")
        tools = tools or older
    return tools


def _is_tool(value: Any) -> bool:
    """Whether a value describes a function in the form of OpenAI's `tools`, or of its older `functions`."""
    inner = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return False
    return isinstance(inner.get("parameters"), dict) or isinstance(inner.get("description"), str)


def _as_tool(value: Row) -> Row:
    """A function's description in the form of `tools`."""
    if isinstance(value.get("function"), dict):
        return {"type": "function", **value}
    function = {key: held for key, held in value.items() if (key, held) != ("type", "function")}
    return {"type": "function", "function": function}


def _json_in(value: Any, name: str) -> Any:
    if not isinstance(value, str) or not value.strip():
        return None if value == "" or (isinstance(value, str) and not value.strip()) else value
    try:
        return json.loads(value, **STRICT)
    except (ValueError, RecursionError):
        raise BadRow(f"the column {name!r} holds text that is no JSON", "a list or an object") from None


def refuse_pictures(row: Row) -> None:
    """Refuses a row with images, sounds or films beside its texts; an empty column is none."""
    for name in PICTURES:
        if name in row and not blank(row.get(name)):
            raise BadRow(
                f"the column {name!r} holds something",
                "texts alone: models here read no images or sounds, so what was said of them cannot be learned",
            )


def refuse_unread_turns(row: Row, names: Sequence[str] = CONVERSATIONS) -> None:
    """Refuses a conversation in a text that cannot be read, which would be lost beside a prompt."""
    for name in names:
        value = peek(row, name)
        if isinstance(value, str) and listed_in(value) is value:
            refuse_unread(value, name)


def check_prompt(turns: Turns, name: str, *, continued: bool = False) -> None:
    """Refuses turns that ask nothing.

    Raises:
        BadRow: they are empty, or end with the assistant's turn and are not to be continued (or the other way round).
    """
    if not turns or not (turns[-1].content.strip() or turns[-1].role == "assistant"):
        raise BadRow(f"an empty prompt in {name!r}", "a prompt with something in its last turn")
    last = turns[-1].role
    if last == "assistant" and not continued:
        raise BadRow(
            f"the prompt in {name!r} ends with the assistant's turn",
            f"a prompt that ends with the user's turn; where the last turn is to be continued, {CONTINUE}: true",
        )
    if last == "system":
        raise BadRow(f"the prompt in {name!r} ends with the system's turn", "a prompt that ends with the user's turn")
    if continued and last != "assistant":
        raise BadRow(
            f"{CONTINUE} is true and the prompt in {name!r} ends with the {last}'s turn",
            "a prompt that ends with the assistant's turn",
        )


def completion_of(value: Any, name: str) -> Words:
    """A completion: a text, or turns that begin and end with the assistant's.

    Raises:
        BadRow: turns of another kind.
    """
    words = words_of(value, name)
    if words.turns:
        check_completion(words.turns, name)
    return words


def check_completion(turns: Turns, name: str) -> None:
    """Refuses turns that do not begin and end with the assistant's."""
    if not turns or turns[0].role != "assistant":
        raise BadRow(
            f"the first of {count(len(turns), 'turn')} in {name!r} is not the assistant's",
            "text, or turns that begin with the assistant's",
        )
    if turns[-1].role != "assistant":
        raise BadRow(f"the last turn in {name!r} is the {turns[-1].role}'s", "turns that end with the assistant's")


def spans_of(words: Words) -> Spans:
    """The stretches of a completion."""
    return spans_of_turns(words.turns, words.learned) if words.turns else (Span(words.text),)
