"""Render turns as text with the tokenizer's chat template.

Templates expect the same content in different forms: content as a text or as a list of parts, a call's arguments as an
object or as JSON. The expected form is found once, by test renderings.
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
"""Names of an assistant's thinking in templates; turns get all of them, so each template finds its own."""

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
        """Whether the tokenizer has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    @property
    def source(self) -> str:
        """The template's source; for several named templates the sources of all."""
        template = getattr(self.tokenizer, "chat_template", None) or ""
        return "\n".join(template.values()) if isinstance(template, dict) else str(template)

    def text(self, turns: Sequence[Message], prompt: Prompt, *, opened: bool) -> str:
        """The rendered text of some turns.

        Args:
            turns: the conversation, oldest first.
            prompt: its `tools` and `chat_template_kwargs` are given to the template, and errors name it.
            opened: whether to add the generation prompt.

        Raises:
            PreflabError: there is no template, or it refuses these turns.
        """
        if not self.exists:
            raise PreflabError(
                f"{where(prompt)} is a conversation, but the tokenizer has no chat template",
                "plain text prompts, or a tokenizer with a chat template",
                "put a chat_template.jinja into the model's folder, or write the prompts as text",
            )
        try:
            return self._render(self._dicts(turns), prompt, opened)
        except PreflabError:
            raise
        except FAILURES as error:
            problem = f"{where(prompt)}: the chat template refuses the conversation ({one_line(error)})"
            raise PreflabError(problem, *self._advise(turns, prompt, opened)) from error

    def _advise(self, turns: Sequence[Message], prompt: Prompt, opened: bool) -> tuple[str, str]:
        """What the template accepts and how to change the turns, found by leaving out one part at a time."""
        bare = replace(prompt, columns={name: value for name, value in prompt.columns.items() if name != "tools"})
        without_system = [turn for turn in turns if turn.role != "system"]
        if isinstance(self.tokenizer.chat_template, dict) and "default" not in self.tokenizer.chat_template:
            return "named templates, one of them called `default`", "name the one for conversations `default`"
        if len(without_system) < len(turns) and self._takes(without_system, prompt, opened):
            return "turns without a system turn", "move its text into the first user turn, or remove it"
        if prompt.columns.get("tools") and self._takes(turns, bare, opened):
            return "a conversation without tools", "use a model whose template supports tools, or leave the row out"
        roles = [turn.role for turn in without_system]
        if any(role == next_role for role, next_role in pairwise(roles)):
            return "turns of user and assistant that alternate", "join turns of the same role that follow each other"
        return "turns that the model's template accepts", "correct the turns of the row, or leave it out"

    def _takes(self, turns: Sequence[Message], prompt: Prompt, opened: bool) -> bool:
        try:
            self._render(self._dicts(turns), prompt, opened)
        except PreflabError:
            return False
        except FAILURES:
            return False
        return True

    def _render(self, messages: list[dict[str, Any]], prompt: Prompt, opened: bool) -> str:
        tools, arguments = tools_of(prompt) or None, template_arguments(prompt)
        return self._render_limited(messages, tools=tools, add_generation_prompt=opened, **arguments)

    def _render_limited(self, messages: list[dict[str, Any]], **others: Any) -> str:
        """Render within the limits. A template that has exceeded them once is not run again."""
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
        """A turn in the form that the template reads."""
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
        """A turn's words, as a text or as the list of parts that the template expects."""
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
            "id": call.id or "call00001",  # some templates require an id of nine letters and digits
            "function": {"name": call.name, "arguments": arguments},
        }

    @cached_property
    def _form_apart(self) -> ThinkingForm | None:
        """The form of thinking of a template that expects it apart from the words; None if the words may contain it."""

        def write(turns: Sequence[Message], opened: bool) -> str | None:
            return self._try_render([self._fields(turn) for turn in turns], add_generation_prompt=opened)

        form = find_form(write, [Message("user", "a")])
        return form if form and form.is_marked and not form.stands_in_words(write, [Message("user", "a")]) else None

    @cached_property
    def _wants_parts(self) -> bool:
        """Whether the template expects content as a list of parts and cannot use a text."""
        shapes: tuple[Any, ...] = (MARK, [{"type": "text", "text": MARK}])
        renderings = [self._try_render([{"role": "user", "content": shape}]) for shape in shapes]
        plain, parts = (written is not None and MARK in written for written in renderings)
        return parts and not plain

    @cached_property
    def _wants_thinking_parts(self) -> bool:
        """Whether the template reads thinking only from a part of a turn's content."""
        user = {"role": "user", "content": [{"type": "text", "text": "a"}] if self._wants_parts else "a"}
        parts = [{"type": "thinking", "thinking": MARK}, {"type": "text", "text": "a"}]
        beside = {"role": "assistant", "content": parts[1:] if self._wants_parts else "a"}
        apart = self._try_render([user, {**beside, **dict.fromkeys(THINKING_KEYS, MARK)}])
        written = self._try_render([user, {**beside, "content": parts}]) or ""
        is_shown = any(
            f"{quote}{MARK}{quote}" in written for quote in "'\""
        )  # the template printed the list itself, as Python or JSON
        return MARK not in (apart or "") and MARK in written and not is_shown

    @cached_property
    def _wants_json(self) -> bool:
        """Whether the template prints a call's arguments unchanged, so that they must be JSON instead of an object."""
        as_object, as_json = (self._try_call(shape) for shape in ({MARK: True}, json.dumps({MARK: True})))
        if as_object is None or as_json is None:
            return as_object is None and as_json is not None
        return f"{{'{MARK}'" in as_object

    def _try_call(self, arguments: Any) -> str | None:
        call = {"type": "function", "id": "call00001", "function": {"name": "probe", "arguments": arguments}}
        user = {"role": "user", "content": [{"type": "text", "text": "a"}] if self._wants_parts else "a"}
        for content in ("", None):
            written = self._try_render(
                [user, {"role": "assistant", "content": content, "tool_calls": [call]}], tools=[TOOL]
            )
            if written is not None:
                return written
        return None

    def _try_render(self, messages: list[dict[str, Any]], **others: Any) -> str | None:
        """The rendered text; None if the template fails."""
        try:
            return self._render_limited(messages, **others)
        except FAILURES:
            return None


def _failures() -> tuple[type[Exception], ...]:
    """The exceptions of templates: raised on purpose, or because something they read is missing."""
    from jinja2 import TemplateError

    missing = (ValueError, TypeError, KeyError, AttributeError, IndexError)
    return (TemplateError, *missing, ArithmeticError, RecursionError, MemoryError)


FAILURES = _failures()


def tools_of(prompt: Prompt) -> list[Any]:
    """The tools that may be called, from the prompt's column `tools`.

    Raises:
        PreflabError: the column is not a list of objects (or such a list as JSON).
    """
    tools = prompt.columns.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else None
        except json.JSONDecodeError:
            tools = {}
    if tools is None:
        return []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise PreflabError(
            f"{where(prompt)}: the column `tools` is not a list of objects",
            'a list of JSON schemas: [{"type": "function", "function": {"name": …}}]',
            "correct the column, or rename it if it means something else",
        )
    return tools


def template_arguments(prompt: Prompt) -> Mapping[str, Any]:
    """Further arguments of the template, from the prompt's column `chat_template_kwargs`.

    Raises:
        PreflabError: the column is not an object, or it contains an argument that preflab sets itself.
    """
    arguments = prompt.columns.get("chat_template_kwargs") or {}
    reserved = {"tokenize", "add_generation_prompt", "continue_final_message", "tools", "conversation", "return_dict"}
    if not isinstance(arguments, dict) or reserved & arguments.keys():
        raise PreflabError(
            f"{where(prompt)}: the column `chat_template_kwargs` is {arguments!r}",
            f"an object with arguments of the template, none of {', '.join(sorted(reserved))}",
            "correct the column",
        )
    return arguments


def where(prompt: Prompt) -> str:
    """The name of a prompt in errors: its file and line, else its id."""
    return prompt.source or f"prompt {prompt.id}"


def one_line(error: Exception) -> str:
    """An error's first line, or its class name if it has no message."""
    message = str(error).strip()
    return message.splitlines()[0] if message else type(error).__name__
