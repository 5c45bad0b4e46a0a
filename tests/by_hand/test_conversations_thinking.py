"""Thinking between special tokens stays apart from the answer in text, and comes back as those tokens."""

from __future__ import annotations

import pytest

from chat_templates import HI, Family, byte_tokenizer, configured_ids
from preflab.conversations.renderer import Renderer
from preflab.records import Completion, Message, Prompt

BRACKETS = """{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]\
{% else %}{% if m.reasoning_content %}[THINK]{{ m.reasoning_content }}[/THINK]{% endif %}{{ m.content }}{{ eos_token }}\
{% endif %}{% endfor %}"""
FAMILY = Family("brackets", BRACKETS, ("[INST]", "[/INST]", "[THINK]", "[/THINK]"), "</s>", "", "", "</s>")
ASKED = Prompt.make(messages=(HI,), source="rows.jsonl, line 3")


@pytest.fixture
def renderer() -> Renderer:
    tokenizer = byte_tokenizer(FAMILY)
    return Renderer(tokenizer, configured_ids(FAMILY, tokenizer))


@pytest.mark.parametrize(
    ("sampled", "text"),
    [
        ("[THINK]hm[/THINK]monday</s>", "[THINK]hm[/THINK]monday"),
        ("[THINK]hm", "[THINK]hm"),
        ("[/THINK]monday</s>", "[/THINK]monday"),
        ("[INST]monday</s>", "monday"),
    ],
)
def test_tags_of_thinking_within_words_are_spelled_and_come_back(renderer: Renderer, sampled: str, text: str) -> None:
    ids = renderer.joining.ids(sampled)
    assert renderer.text(ASKED, ids) == text
    reason = "stop" if sampled.endswith("</s>") else "length"
    again = renderer.sequence(ASKED, Completion.make(ASKED.id, text, "m", finish_reason=reason))
    assert renderer.joining.text(again.completion_ids, special=True) == sampled.removeprefix("[INST]")
    stored = Completion.make(ASKED.id, text, "m", token_ids=ids)
    assert renderer.sequence(ASKED, stored).completion_ids == ids


def test_thinking_in_an_earlier_turn_is_what_the_template_makes_of_thinking(renderer: Renderer) -> None:
    as_text, beside = (
        Prompt.make(messages=(HI, turn, HI))
        for turn in (
            Message("assistant", "[THINK]hm[/THINK]monday"),
            Message("assistant", "monday", reasoning="hm"),
        )
    )
    assert renderer.prompt_ids(as_text) == renderer.prompt_ids(beside)
