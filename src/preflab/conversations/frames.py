"""The frame of each kind of prompt: with tools, turns may end in another way, and after a result begin in another."""

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
    """Frames of a template by the kind of prompt, each found once."""

    template: Template
    joining: Joining
    stops: tuple[int, ...]
    """Tokens that stop the sampler, as the model's configuration and its tokenizer name them."""
    known: dict[Any, Frame] = field(default_factory=dict)

    @cached_property
    def default(self) -> Frame:
        """The frame after a user's turn without tools."""
        return find_frame(self.template, self.joining, self.stops)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """All tokens that end a turn, with tools and after a result, too: the sampler stops at them in any prompt."""
        kinds = ((USER,), (USER, CALLED, RESULT))
        with_tools = [Prompt.make(messages=turns, columns={"tools": [TOOL]}) for turns in kinds]
        frames = [self.default, *(self._tried([example], None) for example in with_tools)]
        return tuple(sorted({token for frame in frames for token in frame.stop_ids}))

    def after(self, prompt: Prompt, opened: str | None) -> Frame:
        """The frame of a prompt's answer.

        Args:
            prompt: a conversation.
            opened: its text up to where the assistant speaks; None where it ends within the assistant's turn.
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
            self.known[key] = self._tried([*examples, prompt] if opened is not None else examples, thinking)
        return self.known[key]

    def _tried(self, examples: Sequence[Prompt], thinking: tuple[str, bool] | None) -> Frame:
        """The frame of the first example whose thinking is opened or closed as wanted; else the default's.

        A typical conversation comes before the prompt itself, so that other prompts of its kind get the same frame.
        """
        for example in examples:
            try:
                frame = find_frame(self.template, self.joining, self.stops, example)
            except PreflabError:  # a template that refuses this conversation
                continue
            if thinking in (None, (frame.opener, frame.closed)):
                return self._fitted(frame)
        return self.default

    def _fitted(self, frame: Frame) -> Frame:
        """A frame whose lead is known, as far as the default's tells.

        A template may change the turns before an answer (calls that it merges into one turn with the answer), which
        hides the lead. One that has a generation prompt, and none in this place, lets the model write the header.
        """
        if frame.lead is None and frame.opener == self.default.opener:
            return replace(frame, lead=self.default.lead)
        if frame.header and not self.default.header:
            return replace(frame, header="", lead=frame.header + (frame.lead or ""))
        return frame
