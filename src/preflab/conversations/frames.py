"""The frame for each kind of prompt: turns may end differently with tools, and begin differently after a result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from preflab.conversations.call_ends import RESULT, USER
from preflab.conversations.joining import Joining
from preflab.conversations.template import TOOL, Template, tools_of
from preflab.conversations.thinking import thinking_of
from preflab.conversations.turn_ends import Frame, find_frame
from preflab.errors import PreflabError
from preflab.records import Message, Prompt, ToolCall

CALLED = Message("assistant", "", tool_calls=(ToolCall("probe", '{"mark": "c"}'),))


@dataclass
class Frames:
    """The frames of a template by kind of prompt; each is computed once."""

    template: Template
    joining: Joining
    stops: tuple[int, ...]
    """Stop tokens of the model's configuration and of its tokenizer."""
    known: dict[Any, Frame] = field(default_factory=dict)

    @cached_property
    def default(self) -> Frame:
        """The frame after a user's turn without tools."""
        return find_frame(self.template, self.joining, self.stops)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """All tokens that end a turn, also with tools and after a result; the sampler stops at them for any prompt."""
        kinds = ((USER,), (USER, CALLED, RESULT))
        with_tools = [Prompt.make(messages=turns, columns={"tools": [TOOL]}) for turns in kinds]
        frames = [self.default, *(self._first_fitting([example], None) for example in with_tools)]
        return tuple(sorted({token for frame in frames for token in frame.stop_ids}))

    def after(self, prompt: Prompt, opened: str | None) -> Frame:
        """The frame of the answer to a prompt.

        Args:
            prompt: a conversation.
            opened: its text up to the assistant's words; None if it ends within the assistant's turn.
        """
        thinking = None if opened is None else thinking_of(opened)
        has_tools, after_result = bool(tools_of(prompt)), prompt.messages[-1].role == "tool"
        if not has_tools and not after_result and thinking in (None, (self.default.opener, self.default.closed)):
            return self.default
        arguments = prompt.columns.get("chat_template_kwargs")
        key = (has_tools, after_result, thinking, json.dumps(arguments, sort_keys=True))
        if key not in self.known:
            turns = (USER, CALLED, RESULT) if after_result else (USER,)
            columns = {"tools": [TOOL] if has_tools else None, "chat_template_kwargs": arguments}
            examples = [Prompt.make(messages=turns, columns=columns)]
            self.known[key] = self._first_fitting([*examples, prompt] if opened is not None else examples, thinking)
        return self.known[key]

    def _first_fitting(self, examples: Sequence[Prompt], thinking: tuple[str, bool] | None) -> Frame:
        """The frame of the first example whose (opener, closed) equals `thinking`, or of any with None; else `default`.

        A typical conversation comes before the prompt itself, so that other prompts of its kind get the same frame.
        """
        for example in examples:
            try:
                frame = find_frame(self.template, self.joining, self.stops, example)
            except PreflabError:  # the template refuses this conversation
                continue
            if thinking in (None, (frame.opener, frame.closed)):
                return self._with_known_lead(frame)
        return self.default

    def _with_known_lead(self, frame: Frame) -> Frame:
        """The frame with a missing lead or header taken from the default frame.

        A template may change the turns before an answer, for example merge calls and answer into one turn; the lead is
        then not visible. If a template has a generation prompt in general but not here, the model writes the header.
        """
        if frame.lead is None and frame.opener == self.default.opener:
            return replace(frame, lead=self.default.lead)
        if frame.header and not self.default.header:
            return replace(frame, header="", lead=frame.header + (frame.lead or ""))
        return frame
