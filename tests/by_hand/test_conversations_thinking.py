"""Thinking between special tokens: it stays apart from the answer in text, in histories and in what is read again."""

from __future__ import annotations

from typing import Any

import pytest

from chat_templates import BY_NAME, CHATML, HI, Family, byte_tokenizer, configured_ids
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.models.check_turns import check_turns
from preflab.records import Completion, Message, Prompt, ToolCall, spans_of_turns

BRACKETS = """{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]\
{% else %}{% if m.reasoning_content %}[THINK]{{ m.reasoning_content }}[/THINK]{% endif %}{{ m.content }}{{ eos_token }}\
{% endif %}{% endfor %}"""
MAGISTRAL = Family("brackets", BRACKETS, ("[INST]", "[/INST]", "[THINK]", "[/THINK]"), "</s>", "", "", "</s>")
HARMONY = BY_NAME["harmony"]
CHANNELS = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>monday"
ASKED = Prompt.make(messages=(HI,), source="rows.jsonl, line 3")


def renderer_of(family: Family) -> Renderer:
    tokenizer = byte_tokenizer(family)
    return Renderer(tokenizer, configured_ids(family, tokenizer))


def written(renderer: Renderer, ids: Any) -> str:
    return renderer.joining.text(ids, special=True)


@pytest.mark.parametrize(
    ("family", "sampled", "text"),
    [
        (MAGISTRAL, "[THINK]hm[/THINK]monday</s>", "[THINK]hm[/THINK]monday"),
        (MAGISTRAL, "[THINK]hm", "[THINK]hm"),
        (MAGISTRAL, "[/THINK]monday</s>", "[/THINK]monday"),
        (HARMONY, "<|channel|>final<|message|>monday<|return|>", "monday"),
    ],
)
def test_special_tokens_within_words_are_written_out_and_come_back(family: Family, sampled: str, text: str) -> None:
    renderer = renderer_of(family)
    ids = renderer.joining.ids(sampled)
    assert renderer.text(ASKED, ids) == text
    assert not renderer.loses_marks(ids)
    reason = "stop" if sampled.endswith(("</s>", "<|return|>")) else "length"
    again = renderer.sequence(ASKED, Completion.make(ASKED.id, text, "m", finish_reason=reason))
    assert written(renderer, again.completion_ids) == sampled
    stored = Completion.make(ASKED.id, text, "m", token_ids=ids)
    assert renderer.sequence(ASKED, stored).completion_ids == ids


@pytest.mark.parametrize(("family", "text"), [(MAGISTRAL, "[THINK]hm[/THINK]monday")])
def test_thinking_in_an_earlier_turn_is_what_the_template_makes_of_thinking(family: Family, text: str) -> None:
    renderer = renderer_of(family)
    as_text, beside = (
        Prompt.make(messages=(HI, turn, HI))
        for turn in (Message("assistant", text), Message("assistant", "monday", reasoning="hm"))
    )
    assert renderer.prompt_ids(as_text) == renderer.prompt_ids(beside)
    assert "monday" in written(renderer, renderer.prompt_ids(as_text))


def test_samples_stored_without_their_special_tokens_keep_their_tokens() -> None:
    renderer = renderer_of(MAGISTRAL)
    ids = renderer.joining.ids("[THINK]hm[/THINK]monday</s>")
    assert renderer.spells(ASKED, Completion.make(ASKED.id, "hmmonday", "m", token_ids=ids))


def test_tokens_that_begin_end_and_fill_rows_are_no_words() -> None:
    renderer = renderer_of(MAGISTRAL)
    assert renderer.text(ASKED, renderer.joining.ids("a<s>b<pad>c</s>")) == "abc"
    assert renderer.text(Prompt.make(text="Q:"), renderer.joining.ids("a<pad>[THINK]b</s>")) == "ab"


@pytest.mark.parametrize("sampled", [f"{CHANNELS}<|return|>", "<|channel|>analysis<|message|>hm"])
def test_channels_are_left_out_of_the_text_and_counted(sampled: str) -> None:
    """Written out they would open turns of other roles, which text never does."""
    renderer = renderer_of(HARMONY)
    ids = renderer.joining.ids(sampled)
    assert "<|" not in renderer.text(ASKED, ids)
    assert renderer.loses_marks(ids)
    assert renderer.sequence(ASKED, Completion.make(ASKED.id, "x", "m", token_ids=ids)).completion_ids


BARE = "'A cat.<|im_end|>' becomes '<think>\\n\\n</think>\\n\\nA cat.<|im_end|>'"
"""The template puts an empty block of thinking before an answer that a model gave without one."""


@pytest.mark.parametrize(
    ("family", "measured", "advice"),
    [
        (MAGISTRAL, "1 of 1 forms", ""),
        (HARMONY, "0 of 1 forms", "becomes"),
        (BY_NAME["chatml"], "no thinking", "writes no thinking"),
        (BY_NAME["thinking"], "2 of 3 forms", BARE),
    ],
)
def test_check_says_whether_thinking_comes_back_from_text(family: Family, measured: str, advice: str) -> None:
    row = next(row for row in check_turns(renderer_of(family)) if row.name == "thinking as text")
    assert row.measured == measured
    assert row.holds
    assert advice in row.advice
    assert bool(advice) == bool(row.advice)


# The form of thinking

STRIPS = CHATML.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")
"""The closing tag stands in it, and it writes no thinking."""
IN_CALLS = (
    CHATML.replace("{{ m.content }}", "{% if m.tool_calls %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}")
)  # fmt: skip
"""It writes thinking before calls alone, in a form of its own."""
THINKS = Message("assistant", "monday", reasoning="hm")


def chatml(template: str) -> Renderer:
    return renderer_of(Family("t", template, BY_NAME["chatml"].special, "<|im_end|>", "", "", ""))


def test_thinking_has_one_form_in_answers_and_calls() -> None:
    renderer = chatml(IN_CALLS)
    call = Message("assistant", "", reasoning="so", tool_calls=(ToolCall("probe", '{"mark": "x"}'),))
    turns = spans_of_turns((call, Message("tool", "y"), THINKS))
    ids = renderer.sequence(ASKED, Completion.make(ASKED.id, "", "m", spans=turns)).completion_ids
    text = written(renderer, ids)
    assert text.startswith('<think>so</think><call>{"name": "probe"')
    assert text.endswith("<|im_start|>assistant\n<think>hm</think>monday<|im_end|>")
    cut = Completion.make(ASKED.id, "", "m", spans=spans_of_turns((Message("assistant", "", reasoning="hm"),)),
                          finish_reason="length")  # fmt: skip
    assert written(renderer, renderer.sequence(ASKED, cut).completion_ids) == "<think>hm"


def test_thinking_beside_the_words_is_refused_where_the_template_writes_none() -> None:
    renderer = chatml(STRIPS)
    completion = Completion.make(ASKED.id, "", "m", spans=spans_of_turns((THINKS,)))
    with pytest.raises(PreflabError, match="line 3: the chat template does not write the completion's thinking"):
        renderer.sequence(ASKED, completion)


def test_cut_thinking_ends_where_it_was_cut_in_the_templates_form() -> None:
    cut = Completion.make(ASKED.id, "", "m", spans=spans_of_turns((Message("assistant", "", reasoning="hm"),)),
                          finish_reason="length")  # fmt: skip
    for family, text in ((MAGISTRAL, "[THINK]hm"), (HARMONY, "<|channel|>analysis<|message|>hm")):
        renderer = renderer_of(family)
        assert written(renderer, renderer.sequence(ASKED, cut).completion_ids) == text


def test_thinking_in_the_words_keeps_the_line_break_that_the_template_puts_before_thinking() -> None:
    """In the manner of GLM: every turn begins with a line break and a pair of tags, which words of their own double."""
    always = "\n<think>{{ m.reasoning_content or '' }}</think>\n{{ m.content }}"
    user, rest = "<|user|>{{ m.content }}", "{% else %}<|assistant|>" + always + "<|end|>{% endif %}{% endfor %}"
    template = "{% for m in messages %}{% if m.role == 'user' %}" + user + rest
    template += "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    renderer = renderer_of(Family("t", template, ("<|user|>", "<|assistant|>", "<|end|>"), "<|end|>", "", "", ""))
    beside = Completion.make(ASKED.id, "", "m", spans=spans_of_turns((THINKS,)))
    inside = Completion.make(ASKED.id, "<think>hm</think>\nmonday", "m")
    found = [written(renderer, renderer.sequence(ASKED, each).completion_ids) for each in (beside, inside)]
    assert found == ["\n<think>hm</think>\nmonday<|end|>"] * 2
