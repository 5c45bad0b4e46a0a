"""Reads the prompt and the completions of a row: text or turns, and the columns that the chat template reads.

The rule is the same for all formats. A `system` column becomes a system turn. A row is a conversation if it has a
system turn, tools, or a completion given as turns; then a text prompt becomes one user's turn, and a text completion
the assistant's turn.
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
"""Older columns for `tools`; a function may be with or without the object with its type around it."""
BETWEEN = "\n\n"
"""Between an instruction and its input or context."""


@dataclass(frozen=True)
class Words:
    """A text (`turns` is empty), or turns."""

    text: str = ""
    turns: Turns = ()
    learned: tuple[bool, ...] = ()
    """For each turn, whether it may be learned from."""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """The prompt of a row before it is known whether the completions are texts or turns."""

    words: Words
    name: str
    """The column, for errors."""
    template: Row = field(default_factory=dict)
    """Columns that the chat template reads."""

    @property
    def chat(self) -> bool:
        """Whether the prompt is a conversation even if the completions are texts."""
        return bool(self.words.turns or self.template)

    @property
    def turns(self) -> Turns:
        """The conversation; a text becomes a user's turn."""
        return self.words.turns or (Message("user", self.words.text),)

    def prompt(self, source: str, columns: Row | None = None, *, chat: bool = False) -> Prompt:
        """Build the prompt.

        Args:
            source: file and line.
            columns: that belong to the prompt, without the template's.
            chat: whether the prompt must be a conversation because a completion has turns.

        Raises:
            BadRow: the prompt is empty, or ends with the assistant's turn without `continue_final_message`.
        """
        if not self.chat and not chat:
            return Prompt.make(text=self.words.text, columns=columns, source=source)
        return self.with_turns(self.turns, source, columns)

    def with_turns(self, turns: Turns, source: str, columns: Row | None = None) -> Prompt:
        """Build the prompt from these turns and the template's columns; see `prompt` for the errors."""
        check_prompt(turns, self.name, continued=bool(self.template.get(CONTINUE)))
        return Prompt.make(messages=turns, columns={**(columns or {}), **self.template}, source=source)


def read_question(row: Row, names: Sequence[str] = PROMPTS) -> Question:
    """Read the prompt of a row from the column with one of these names.

    Raises:
        BadRow: none or several of these columns, an empty one, or columns of the template that cannot be read.
    """
    name = _find_column(row, names)
    words = words_of(read_as(row, name, names[0]), name)
    if not words.turns and not words.text.strip():
        raise BadRow(f"an empty {name}", f"{'an' if name[0] in 'aeiou' else 'a'} {name} with something in it")
    if name == "instruction":
        words = _add_context(row, words)
    return Question(_after_system(row, words, name), name, template_of(row))


def question_of_turns(row: Row, turns: Turns, name: str) -> Question:
    """The prompt of these turns, with the row's system turn and the template's columns."""
    return Question(_after_system(row, Words(turns=turns), name), name, template_of(row))


def _find_column(row: Row, names: Sequence[str]) -> str:
    """The column with the prompt: the first of the names if present, else the only other one."""
    present = [name for name in names if has(row, name)]
    if not present:
        column(row, next((name for name in names if name in row), names[0]))
        return next(name for name in names if name in row)
    rivals = [name for name in present if not (present[0] == "instruction" and name in BESIDE_INSTRUCTION)]
    if len(rivals) > 1 and present[0] != names[0]:
        raise BadRow(
            f"{' and '.join(rivals)} could both be the prompt", f"one of them ({rename_option(rivals[0], names[0])})"
        )
    return present[0]


def words_of(value: Any, name: str) -> Words:
    """A value as text or turns; turns may also be a text in JSON or in Python's notation.

    Raises:
        BadRow: the value is neither, or a text with turns that cannot be parsed.
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


def _add_context(row: Row, words: Words) -> Words:
    """The instruction with its `input` or `context` after it, and the exchanges of `history` before it.

    Raises:
        BadRow: `input` or `context` is not a text, `history` is not a list of exchanges, or the instruction is turns.
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
    """The words with the system turn from its own column before them, if there is such a column.

    Raises:
        BadRow: the column is not text, or differs from the system turn in the conversation (unless it is a default).
    """
    system_name = next((each for each in SYSTEM if not blank(peek(row, each))), None)
    for each in SYSTEM:
        if blank(peek(row, each)):
            row.get(each)  # marks the empty column as read
    if system_name is None:
        return words
    system = read_as(row, system_name, SYSTEM[0])
    if not isinstance(system, str):
        raise BadRow(f"the column {system_name!r} holds {kind_of(system)}", "text: the system's turn")
    if not system.strip():
        return words
    turns = words.turns or (Message("user", words.text),)
    if turns[0].role == "system":
        if turns[0].content.strip() != system.strip() and not is_default(row, system_name):
            raise BadRow(f"{name} begins with another system turn than the column {system_name!r}", "one system turn")
        return words
    learned = words.learned or (False,) * len(turns)
    return Words("", (Message("system", system), *turns), (False, *learned), words.left_out)


def template_of(row: Row) -> Row:
    """The columns that the chat template reads, without empty ones.

    Raises:
        BadRow: `tools` is not a list of objects or differs from an older column of tools, `chat_template_kwargs` is not
            an object, or `continue_final_message` is neither true nor false.
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
    """The tools of a row, from `tools` or from an older column converted to the same form."""
    tools = _json_in(row.get(TOOLS), TOOLS)
    tools = [tools] if isinstance(tools, dict) and tools else tools
    if not blank(tools) and (not isinstance(tools, list) or not all(isinstance(each, dict) for each in tools)):
        raise BadRow(f"the column {TOOLS!r} holds {kind_of(tools)}", "a list of JSON schemas, one per function")
    for name in OLDER_TOOLS:
        listed = object_in(held) if isinstance(held := peek(row, name), str) else held
        if not isinstance(listed, list) or not listed or not all(_is_tool(each) for each in listed):
            continue  # not tools; it stays an unread column
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
    """Refuse a row with images, sounds or films; empty columns are accepted."""
    for name in PICTURES:
        if name in row and not blank(row.get(name)):
            raise BadRow(
                f"the column {name!r} holds something",
                "texts alone: models here read no images or sounds, so completions about them cannot be learned",
            )


def refuse_unread_turns(row: Row, names: Sequence[str] = CONVERSATIONS) -> None:
    """Refuse a text with turns that cannot be parsed, which would be lost if the row also has a prompt."""
    for name in names:
        value = peek(row, name)
        if isinstance(value, str) and listed_in(value) is value:
            refuse_unread(value, name)


def check_prompt(turns: Turns, name: str, *, continued: bool = False) -> None:
    """Refuse turns that cannot be a prompt.

    Raises:
        BadRow: the turns are empty or end with the system's turn; they end with the assistant's turn although it is not
            `continued`; or they end with another turn although it is.
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
    """Read a completion: a text, or turns that begin and end with the assistant's.

    Raises:
        BadRow: other turns, or neither text nor turns.
    """
    words = words_of(value, name)
    if words.turns:
        check_completion(words.turns, name)
    return words


def check_completion(turns: Turns, name: str) -> None:
    """Refuse turns that do not begin and end with the assistant's."""
    if not turns or turns[0].role != "assistant":
        raise BadRow(
            f"the first of {count(len(turns), 'turn')} in {name!r} is not the assistant's",
            "text, or turns that begin with the assistant's",
        )
    if turns[-1].role != "assistant":
        raise BadRow(f"the last turn in {name!r} is the {turns[-1].role}'s", "turns that end with the assistant's")


def spans_of(words: Words) -> Spans:
    """The words of a completion as spans."""
    return spans_of_turns(words.turns, words.learned) if words.turns else (Span(words.text),)
