"""What a chat template leaves out, found by looking at what it writes: a turn that is lost is refused."""

from __future__ import annotations

from dataclasses import replace

from preflab.conversations.template import MARK, Template, tools_of, where
from preflab.errors import PreflabError
from preflab.records import Message, Prompt


def refuse_lost_turns(template: Template, prompt: Prompt, text: str) -> None:
    """Refuse a conversation of which the template's `text` lacks a turn, a call of a tool, or the tools themselves.

    Raises:
        PreflabError: something is missing; it is named.
    """
    for number, turn in enumerate(prompt.messages):
        if turn.content.strip() and turn.content.strip() not in text and not _writes(template, prompt, number):
            _refuse(prompt, f"turn {number + 1}, the {turn.role}'s")
        _refuse_lost_calls(prompt, turn, text)
    for tool in tools_of(prompt):
        name = str(tool.get("function", tool).get("name", ""))
        if name and name not in text:
            _refuse(prompt, f"the tool {name}")


def _refuse_lost_calls(prompt: Prompt, turn: Message, text: str) -> None:
    for call in turn.tool_calls:
        if call.name not in text:
            _refuse(prompt, f"the call of {call.name}")


def _writes(template: Template, prompt: Prompt, number: int) -> bool:
    """Whether the template writes a turn at all, its words changed (trimmed, JSON written anew, thinking taken out)."""
    turns = [*prompt.messages]
    turns[number] = replace(turns[number], content=MARK)
    try:
        return MARK in template.text(turns, prompt, opened=True)
    except PreflabError:
        return False


def _refuse(prompt: Prompt, what: str) -> None:
    raise PreflabError(
        f"{where(prompt)}: the model's chat template does not write {what}",
        "a template that writes everything the conversation holds",
        "leave this row out, take that part off it, or take a model whose template knows it",
    )
