"""Thinking between special tokens: it stays apart from the answer in text, in histories and in what is read again."""

from __future__ import annotations

from typing import Any

import pytest

from chat_templates import BY_NAME, HI, Family, byte_tokenizer, configured_ids
from preflab.conversations.renderer import Renderer
from preflab.models.check_turns import check_turns
from preflab.records import Completion, Message, Prompt

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


@pytest.mark.parametrize(
    ("family", "measured"),
    [(MAGISTRAL, "the sampled tokens"), (HARMONY, "changed"), (BY_NAME["chatml"], "no thinking")],
)
def test_check_says_whether_thinking_comes_back_from_text(family: Family, measured: str) -> None:
    row = next(row for row in check_turns(renderer_of(family)) if row.name == "thinking as text")
    assert row.measured == measured
