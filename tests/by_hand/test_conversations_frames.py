"""Ends and leads that depend on the prompt: a template of its own for tools, another lead after a tool's result."""

from __future__ import annotations

from typing import Any

import pytest

from chat_templates import BE_KIND, BY_NAME, CHATML, HELLO, HI, MISTRAL_SYSTEM, Family, byte_tokenizer
from preflab.conversations.renderer import Renderer
from preflab.records import Completion, Message, Prompt, ToolCall, spans_of_turns

TOOLS = {"tools": [{"type": "function", "function": {"name": "weather"}}]}
CALL = Message("assistant", "", tool_calls=(ToolCall("weather", '{"city": "Rome"}', "c1"),))
RESULT = Message("tool", "sunny", name="weather", tool_call_id="c1")
FOR_TOOLS = """{% for t in tools %}[tool {{ t.function.name }}]{% endfor %}{% for m in messages %}\
<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}<|eot|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
AFTER_RESULT = """{% for m in messages %}{% if m.role == 'tool' %}<result>{{ m.content }}</result>{% else %}\
{% if m.role == 'assistant' %}<|turn>model
{% else %}<|turn>{{ m.role }}
{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }} \
{{ c.function.arguments | tojson }}</call>{% endfor %}{% if not m.tool_calls %}<turn|>
{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt and messages[-1].role != 'tool' %}<|turn>model
{% endif %}"""
"""The generation prompt is empty after a tool's result, and the template writes the header with the answer."""
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|eot|>", "<|turn>", "<turn|>")


def renderer_of(template: Any) -> Renderer:
    return Renderer(byte_tokenizer(Family("t", template, SPECIAL, "</s>", "", "", "")))


def written(renderer: Renderer, ids: Any) -> str:
    return renderer.joining.text(ids, special=True)


@pytest.mark.parametrize(("columns", "end"), [({}, "<|im_end|>"), (TOOLS, "<|eot|>")])
def test_each_of_two_named_templates_ends_its_turns_in_text_and_in_sampled_tokens(columns: Any, end: str) -> None:
    renderer = renderer_of({"default": CHATML, "tool_use": FOR_TOOLS})
    prompt = Prompt.make(messages=(HI,), columns=columns)
    ids = renderer.sequence(prompt, Completion.make(prompt.id, "Hello", "m")).completion_ids
    assert written(renderer, ids) == f"Hello{end}"
    for stop in ("</s>", end):
        sampled = renderer.joining.ids(f"Hello{stop}")
        stored = Completion.make(prompt.id, renderer.text(prompt, sampled), "m", token_ids=sampled)
        assert renderer.sequence(prompt, stored).completion_ids == ids
    stops = renderer.tokenizer.convert_ids_to_tokens(list(renderer.stop_token_ids))
    assert sorted(stops) == ["</s>", "<|eot|>", "<|im_end|>"]


def test_a_begun_answer_ends_as_its_own_template_ends_turns() -> None:
    renderer = renderer_of({"default": CHATML, "tool_use": FOR_TOOLS})
    columns = {**TOOLS, "continue_final_message": True}
    begun = Prompt.make(messages=(HI, Message("assistant", "Hel")), columns=columns)
    assert written(renderer, renderer.completion_ids(begun, "lo")) == "lo<|eot|>"
    assert written(renderer, renderer.closed(begun, renderer.joining.ids("lo</s>"))) == "lo<|eot|>"


def test_the_lead_after_a_tools_result_is_no_part_of_the_words() -> None:
    renderer = renderer_of(AFTER_RESULT)
    after = Prompt.make(messages=(HI, CALL, RESULT))
    assert written(renderer, renderer.prompt_ids(after)).endswith("<result>sunny</result>")
    ids = renderer.sequence(after, Completion.make(after.id, "Hello", "m")).completion_ids
    assert written(renderer, ids) == "<|turn>model\nHello<turn|>"
    assert renderer.text(after, ids) == "Hello"
    plain = Prompt.make(messages=(HI,))
    assert written(renderer, renderer.completion_ids(plain, "Hello")) == "Hello<turn|>"
    turns = spans_of_turns((CALL, RESULT, HELLO))
    loop = renderer.sequence(plain, Completion.make(plain.id, "", "m", spans=turns))
    assert written(renderer, loop.completion_ids).endswith("<result>sunny</result><|turn>model\nHello<turn|>")


@pytest.mark.parametrize("first", [0, 1])
def test_a_frame_does_not_depend_on_which_prompt_came_first(first: int) -> None:
    # The template moves the system's turn, which hides what leads into the answer.
    family = BY_NAME["mistral with system"]
    template = "{% for t in tools or [] %}[tool {{ t.function.name }}]{% endfor %}" + MISTRAL_SYSTEM
    renderer = Renderer(byte_tokenizer(Family("t", template, family.special, "</s>", "", "", "")))
    prompts = [Prompt.make(messages=turns, columns=TOOLS) for turns in ((BE_KIND, HI), (HI,))]
    for prompt in (prompts[first], prompts[1 - first]):
        assert written(renderer, renderer.completion_ids(prompt, "Hello")) == "Hello</s>"
