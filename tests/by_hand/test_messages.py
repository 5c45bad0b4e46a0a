"""Turns as JSON and back: plain ones as they always were, calls of tools and thinking beside them."""

from __future__ import annotations

import json

import pytest

from preflab.records import Completion, Message, Prompt, Span, ToolCall, content_id, spans_of_turns

CALL = Message("assistant", "", tool_calls=(ToolCall("weather", '{"city": "Rome"}', "c1"),))
ANSWER = Message("tool", "sunny", name="weather", tool_call_id="c1")
THOUGHT = Message("assistant", "Sunny.", reasoning="The tool says so.")


def test_parts_of_a_plain_turn_are_two_items() -> None:
    assert Message("user", "Hi").parts == ["user", "Hi"]
    prompt = Prompt.make(messages=(Message("user", "Hi"),))
    # written out: ids of stored prompts must not move
    assert prompt.id == content_id("prompt", {"text": "", "messages": [["user", "Hi"]], "columns": {}})
    completion = Completion.make("prompt-1", "Hello", "m")
    spans = {"prompt": "prompt-1", "spans": [["Hello", True, "assistant"]], "model": "m", "seed": 0, "index": 0}
    assert completion.id == content_id("completion", {**spans, "tokens": []})


@pytest.mark.parametrize("message", [CALL, ANSWER, THOUGHT, Message("system", "")])
def test_parts_of_a_turn_survive_json(message: Message) -> None:
    assert Message.from_parts(json.loads(json.dumps(message.parts))) == message
    span = Span.of_turn(message, by_policy=False)
    assert Span.from_parts(json.loads(json.dumps(span.parts))) == span


def test_turns_that_differ_in_a_call_are_different_prompts() -> None:
    user = Message("user", "Weather?")
    other = Message("assistant", "", tool_calls=(ToolCall("weather", '{"city": "Oslo"}', "c1"),))
    assert Prompt.make(messages=(user, CALL, ANSWER)).id != Prompt.make(messages=(user, other, ANSWER)).id


def test_one_plain_turn_is_a_text_and_anything_more_is_turns() -> None:
    assert spans_of_turns([Message("assistant", "Hello")]) == (Span("Hello"),)
    spans = spans_of_turns([CALL, ANSWER, THOUGHT])
    assert [span.by_policy for span in spans] == [True, False, True]
    completion = Completion.make("prompt-1", "", "m", spans=spans)
    assert completion.turns == (CALL, ANSWER, THOUGHT)
    assert completion.text == (
        'assistant: <tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>\n\n'
        "tool: sunny\n\nassistant: <think>\nThe tool says so.\n</think>\n\nSunny."
    )
    unlearned = spans_of_turns([Message("assistant", "Hello")], [False])
    assert not unlearned[0].by_policy
    assert unlearned[0].message == Message("assistant", "Hello")
