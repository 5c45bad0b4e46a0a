"""The turns of a conversation: who says what, what the assistant thought, which tools it called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool in an assistant's turn: `ToolCall("weather", '{"city": "Rome"}')`."""

    name: str
    arguments: str
    """A JSON object as text."""
    id: str = ""

    @property
    def shown(self) -> str:
        """The call as a person reads it."""
        name = json.dumps(self.name, ensure_ascii=False)
        return f'<tool_call>{{"name": {name}, "arguments": {self.arguments}}}</tool_call>'


@dataclass(frozen=True)
class Message:
    """One turn of a conversation, e.g. `Message("user", "Where is my parcel?")`."""

    role: Role
    content: str
    """Text; "" only in an assistant's turn that calls tools."""
    reasoning: str = ""
    """The assistant's thinking before its answer (`reasoning_content`), where the data hold it separately."""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""
    """The speaker's name, or the name of the tool that answers."""
    tool_call_id: str = ""
    """In a tool's turn: the id of the call that it answers."""

    @property
    def parts(self) -> list[Any]:
        """The turn as JSON: [role, content], and a third item with the other fields where any of them is set."""
        calls = [[call.name, call.arguments, call.id] for call in self.tool_calls]
        others = {
            "reasoning": self.reasoning,
            "tool_calls": calls,
            "name": self.name,
            "tool_call_id": self.tool_call_id,
        }
        set_fields = {key: value for key, value in others.items() if value}
        return [self.role, self.content, *([set_fields] if set_fields else [])]

    @classmethod
    def from_parts(cls, parts: Sequence[Any]) -> Message:
        """The turn that a list from `parts` describes."""
        others = dict(parts[2]) if len(parts) > 2 else {}
        calls = tuple(ToolCall(*call) for call in others.pop("tool_calls", ()))
        return cls(parts[0], parts[1], tool_calls=calls, **others)

    @property
    def shown(self) -> str:
        """The turn as a person reads it: thinking and calls of tools are marked by tags."""
        thought = [f"<think>\n{self.reasoning}\n</think>"] if self.reasoning else []
        words = [self.content] if self.content else []
        return "\n\n".join([*thought, *words, *(call.shown for call in self.tool_calls)])


def shown_turns(turns: Sequence[Message]) -> str:
    """The turns as one text, separated by blank lines, each after its role: `user: Where is my parcel?`."""
    return "\n\n".join(f"{turn.role}: {turn.shown}" for turn in turns)
