"""Turns → text, by the tokenizer's chat template.

Templates want the same thing in different forms: content as a text or as a list of parts, a call's arguments as an
object or as JSON. Which form a template takes is found out once, by looking at what it writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from preflab.conversations.rendering_limits import EndlessTemplate, limited
from preflab.conversations.thinking import MARK, ThinkingForm, find_form
from preflab.errors import PreflabError
from preflab.records import Message, Prompt, ToolCall

THINKING_KEYS = ("reasoning_content", "reasoning", "thinking")
"""What templates call an assistant's thinking; each finds it under the name it knows."""

TOOL = {
    "type": "function",
    "function": {
        "name": "probe",
        "description": "A tool to try the template with.",
        "parameters": {"type": "object", "properties": {"mark": {"type": "string", "description": "A word."}}},
    },
}


class Template:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._endless: EndlessTemplate | None = None

    @property
    def exists(self) -> bool:
        """Whether the tokenizer has one."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    @property
    def source(self) -> str:
        """All of the template's text; of several named ones, all of them."""
        template = getattr(self.tokenizer, "chat_template", None) or ""
        return "\n".join(template.values()) if isinstance(template, dict) else str(template)

    def text(self, turns: Sequence[Message], prompt: Prompt, *, opened: bool) -> str:
        """What the template writes for some turns.

        Args:
            turns: the conversation, oldest first.
            prompt: whose `tools` and `chat_template_kwargs` the template is given, and which errors name.
            opened: whether the generation prompt follows, after which the assistant speaks.

        Raises:
            PreflabError: there is no template, or it refuses these turns.
        """
        if not self.exists:
            raise PreflabError(
                f"{where(prompt)} is a conversation, but the tokenizer has no chat template",
                "plain text prompts, or a tokenizer with a chat template",
                "lay a chat_template.jinja into the model folder, or write the prompts as text",
            )
        try:
            return self._written(self._dicts(turns), prompt, opened)
        except PreflabError:
            raise
        except FAILURES as error:
            problem = f"{where(prompt)}: the chat template refuses the conversation ({one_line(error)})"
            raise PreflabError(problem, *self._cure(turns, prompt, opened)) from error

    def _cure(self, turns: Sequence[Message], prompt: Prompt, opened: bool) -> tuple[str, str]:
        """Returns what the template accepts and how to change the turns, found by leaving out one part at a time."""
        bare = replace(prompt, columns={name: held for name, held in prompt.columns.items() if name != "tools"})
        without_system = [turn for turn in turns if turn.role != "system"]
        if isinstance(self.tokenizer.chat_template, dict) and "default" not in self.tokenizer.chat_template:
            return "templates with names, one of them called `default`", "call the one for conversations `default`"
        if len(without_system) < len(turns) and self._takes(without_system, prompt, opened):
            return "turns without a system turn", "move its text into the first user turn, or take it out"
        if prompt.columns.get("tools") and self._takes(turns, bare, opened):
            return "a conversation without tools", "take a model whose template knows tools, or leave the row out"
        roles = [turn.role for turn in without_system]
        if any(role == next_role for role, next_role in pairwise(roles)):
            return "turns of user and assistant that alternate", "join turns of the same role that follow each other"
        return "turns as the model's template takes them", "mend the turns of the row, or leave it out"

    def _takes(self, turns: Sequence[Message], prompt: Prompt, opened: bool) -> bool:
        try:
            self._written(self._dicts(turns), prompt, opened)
        except PreflabError:
            return False
        except FAILURES:
            return False
        return True

    def _written(self, messages: list[dict[str, Any]], prompt: Prompt, opened: bool) -> str:
        tools, arguments = tools_of(prompt) or None, template_arguments(prompt)
        return self._rendered(messages, tools=tools, add_generation_prompt=opened, **arguments)

    def _rendered(self, messages: list[dict[str, Any]], **others: Any) -> str:
        """Renders within the limits. A template that exceeded them once is not run again."""
        if self._endless is not None:
            raise self._endless
        try:
            with limited():
                return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **others))
        except EndlessTemplate as error:
            self._endless = error
            raise

    def _dicts(self, turns: Sequence[Message]) -> list[dict[str, Any]]:
        return [self._dict(turn) for turn in turns]

    def _dict(self, turn: Message) -> dict[str, Any]:
        """A turn as templates read it."""
        turn = self._form_apart.apart(turn) if self._form_apart and turn.role == "assistant" else turn
        return self._fields(turn)

    def _fields(self, turn: Message) -> dict[str, Any]:
        fields: dict[str, Any] = {"role": turn.role, "content": self._content(turn)}
        if turn.reasoning:
            fields |= dict.fromkeys(THINKING_KEYS, turn.reasoning)
        if turn.tool_calls:
            fields["tool_calls"] = [self._call(call) for call in turn.tool_calls]
        if turn.name:
            fields["name"] = turn.name
        if turn.tool_call_id:
            fields["tool_call_id"] = turn.tool_call_id
        return fields

    def _content(self, turn: Message) -> Any:
        """A turn's words, as the parts that the template asks for."""
        words = {"type": "text", "text": turn.content}
        if turn.reasoning and self._wants_thinking_parts:
            return [{"type": "thinking", "thinking": turn.reasoning}, *([words] if turn.content else [])]
        return [words] if self._wants_parts else turn.content

    def _call(self, call: ToolCall) -> dict[str, Any]:
        arguments: Any = call.arguments
        if not self._wants_json:
            try:
                arguments = json.loads(call.arguments)
            except json.JSONDecodeError:
                arguments = call.arguments
        return {
            "type": "function",
            "id": call.id or "call00001",  # some templates want one of nine letters and digits
            "function": {"name": call.name, "arguments": arguments},
        }

    @cached_property
    def _form_apart(self) -> ThinkingForm | None:
        """The form of thinking of a template that wants it beside the words; None where it may stand in them."""

        def write(turns: Sequence[Message], opened: bool) -> str | None:
            return self._tried([self._fields(turn) for turn in turns], add_generation_prompt=opened)

        form = find_form(write, [Message("user", "a")])
        return form if form and form.is_marked and not form.stands_in_words(write, [Message("user", "a")]) else None

    @cached_property
    def _wants_parts(self) -> bool:
        """True for templates that go through a turn's content part by part and would spell a text letter by letter."""
        shapes: tuple[Any, ...] = (MARK, [{"type": "text", "text": MARK}])
        renderings = [self._tried([{"role": "user", "content": shape}]) for shape in shapes]
        plain, parts = (written is not None and MARK in written for written in renderings)
        return parts and not plain

    @cached_property
    def _wants_thinking_parts(self) -> bool:
        """True for templates that know thinking as a part of a turn's content alone."""
        user = {"role": "user", "content": [{"type": "text", "text": "a"}] if self._wants_parts else "a"}
        parts = [{"type": "thinking", "thinking": MARK}, {"type": "text", "text": "a"}]
        beside = {"role": "assistant", "content": parts[1:] if self._wants_parts else "a"}
        apart = self._tried([user, {**beside, **dict.fromkeys(THINKING_KEYS, MARK)}])
        written = self._tried([user, {**beside, "content": parts}]) or ""
        is_shown = any(
            f"{quote}{MARK}{quote}" in written for quote in "'\""
        )  # the list itself, as Python or JSON has it
        return MARK not in (apart or "") and MARK in written and not is_shown

    @cached_property
    def _wants_json(self) -> bool:
        """True for templates that write a call's arguments as they are, and an object as Python would."""
        as_object, as_json = (self._call_tried(shape) for shape in ({MARK: True}, json.dumps({MARK: True})))
        if as_object is None or as_json is None:
            return as_object is None and as_json is not None
        return f"{{'{MARK}'" in as_object

    def _call_tried(self, arguments: Any) -> str | None:
        call = {"type": "function", "id": "call00001", "function": {"name": "probe", "arguments": arguments}}
        user = {"role": "user", "content": [{"type": "text", "text": "a"}] if self._wants_parts else "a"}
        for content in ("", None):
            written = self._tried([user, {"role": "assistant", "content": content, "tool_calls": [call]}], tools=[TOOL])
            if written is not None:
                return written
        return None

    def _tried(self, messages: list[dict[str, Any]], **others: Any) -> str | None:
        try:
            return self._rendered(messages, **others)
        except FAILURES:
            return None


def _failures() -> tuple[type[Exception], ...]:
    """What a template raises, on purpose or because it looks for something that is not there."""
    from jinja2 import TemplateError

    missing = (ValueError, TypeError, KeyError, AttributeError, IndexError)
    return (TemplateError, *missing, ArithmeticError, RecursionError, MemoryError)


FAILURES = _failures()


def tools_of(prompt: Prompt) -> list[Any]:
    """The functions that may be called, as the prompt's column `tools` has them.

    Raises:
        PreflabError: the column holds something else than a list of objects (or such a list as JSON).
    """
    held = prompt.columns.get("tools")
    if isinstance(held, str):
        try:
            held = json.loads(held) if held.strip() else None
        except json.JSONDecodeError:
            held = {}
    if held is None:
        return []
    if not isinstance(held, list) or not all(isinstance(tool, dict) for tool in held):
        raise PreflabError(
            f"{where(prompt)}: the column `tools` is no list of objects",
            'a list of JSON schemas: [{"type": "function", "function": {"name": …}}]',
            "mend the column, or rename it if it means something else",
        )
    return held


def template_arguments(prompt: Prompt) -> Mapping[str, Any]:
    """Further arguments of the template, as the prompt's column `chat_template_kwargs` has them.

    Raises:
        PreflabError: the column holds no object, or an argument that is not the row's to give.
    """
    held = prompt.columns.get("chat_template_kwargs") or {}
    reserved = {"tokenize", "add_generation_prompt", "continue_final_message", "tools", "conversation", "return_dict"}
    if not isinstance(held, dict) or reserved & held.keys():
        raise PreflabError(
            f"{where(prompt)}: the column `chat_template_kwargs` is {held!r}",
            f"an object of arguments of the template, none of {', '.join(sorted(reserved))}",
            "mend the column",
        )
    return held


def where(prompt: Prompt) -> str:
    """How errors name a prompt: its file and line, else its id."""
    return prompt.source or f"prompt {prompt.id}"


def one_line(error: Exception) -> str:
    """An error's first line, or its kind where it says nothing."""
    message = str(error).strip()
    return message.splitlines()[0] if message else type(error).__name__
