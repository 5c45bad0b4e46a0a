"""Calls of tools: which are learned, what ends a turn that calls, and what a sampled call ends with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chat_templates import BY_NAME, HI, Family, byte_tokenizer, configured_ids
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.records import Completion, Message, Prompt, ToolCall, spans_of_turns

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("weather", "wind")]
ROME, PARIS = ToolCall("weather", '{"city": "Rome"}', "c1"), ToolCall("weather", '{"city": "Paris"}', "c2")
WIND = replace(PARIS, name="wind")
ASKED = Prompt.make(messages=(HI,), columns={"tools": TOOLS}, source="rows.jsonl, line 7")
UNCLOSED = BY_NAME["unclosed"]
FIRST = '\n<tool_call>weather {"city": "Rome"}</tool_call>'


def renderer_of(family: Family) -> Renderer:
    tokenizer = byte_tokenizer(family)
    return Renderer(tokenizer, configured_ids(family, tokenizer))


def written(renderer: Renderer, ids: Any) -> str:
    return renderer.joining.text(ids, special=True)


def learned(renderer: Renderer, *turns: Message) -> str:
    completion = Completion.make(ASKED.id, "", "m", spans=spans_of_turns(turns))
    return written(renderer, renderer.sequence(ASKED, completion).completion_ids)


@pytest.mark.parametrize("words", ["", "I look."])
@pytest.mark.parametrize(("second", "name"), [(PARIS, "weather"), (WIND, "wind")])
def test_both_of_two_calls_are_learned_up_to_what_follows_the_last(second: ToolCall, name: str, words: str) -> None:
    renderer = renderer_of(UNCLOSED)
    turn = Message("assistant", words, tool_calls=(ROME, second))
    both = f'{words}{FIRST}\n<tool_call>{name} {{"city": "Paris"}}</tool_call><|observation|>'
    assert learned(renderer, turn) == both
    stops = renderer.tokenizer.convert_ids_to_tokens(list(renderer.stop_token_ids))
    assert sorted(stops) == ["<|endoftext|>", "<|observation|>", "<|user|>"]


def test_a_call_ends_with_the_tokenizers_end_where_no_mark_of_a_turn_stops_the_sampler() -> None:
    renderer = renderer_of(replace(UNCLOSED, configured=()))
    assert learned(renderer, Message("assistant", "", tool_calls=(ROME, PARIS))).endswith("</tool_call><|endoftext|>")
    assert renderer.tokenizer.convert_ids_to_tokens(list(renderer.stop_token_ids)) == ["<|endoftext|>"]


def test_a_mark_of_its_own_after_all_calls_ends_them() -> None:
    template = str(UNCLOSED.template).replace("{% endfor %}{% endif %}{% endfor %}", "{% if loop.last %}<|call|>"
                                              "{% endif %}{% endfor %}{% endif %}{% endfor %}")  # fmt: skip
    family = replace(UNCLOSED, template=template, special=(*UNCLOSED.special, "<|call|>"), configured=())
    renderer = renderer_of(family)
    turn = Message("assistant", "", tool_calls=(ROME, PARIS))
    assert learned(renderer, turn).endswith('{"city": "Paris"}</tool_call><|call|>')
    assert renderer.tokenizer.convert_tokens_to_ids("<|call|>") in renderer.stop_token_ids


def test_marks_of_the_next_turn_are_not_written_twice_between_turns() -> None:
    turns = (Message("assistant", "", tool_calls=(ROME,)), Message("tool", "sunny"), Message("assistant", "Sun."))
    text = f"{FIRST}<|observation|>sunny<|assistant|>Sun.<|user|>"
    assert learned(renderer_of(UNCLOSED), *turns) == text
    more = (*turns, Message("user", "And?"), Message("assistant", "Bye"))
    assert learned(renderer_of(UNCLOSED), *more) == f"{text}And?<|assistant|>Bye<|user|>"
    without_result = (turns[0], *more[3:])
    assert learned(renderer_of(UNCLOSED), *without_result) == (
        f"{FIRST}<|observation|><|user|>And?<|assistant|>Bye<|user|>"
    )


@pytest.mark.parametrize(
    ("second", "lost"),
    [(WIND, "the call of wind"), (PARIS, "the call of weather"), (None, "the arguments of the call")],
)
def test_calls_that_stand_after_the_turns_end_are_counted(second: ToolCall | None, lost: str) -> None:
    # the end of the turn stands behind the first call, or between the first call's name and its arguments
    place = "c.function.name }} " if second is None else "</tool_call>"
    template = str(UNCLOSED.template).replace(place, place + "<|endoftext|>")
    turn = Message("assistant", "", tool_calls=(ROME, *([second] if second else [])))
    with pytest.raises(PreflabError, match=f"line 7: .*does not write {lost}"):
        learned(renderer_of(replace(UNCLOSED, template=template)), turn)


# Sampled calls

CALL_MARK = """{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% for c in m.tool_calls or [] %}\
<|python|>{{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}\
{% if m.tool_calls %}<|eom|>{% else %}<|eot|>{% endif %}{% endfor %}\
{% if add_generation_prompt %}<|assistant|>{% endif %}"""
"""A turn that calls ends with another token than one that does not."""
TWO_ENDS = Family("two ends", CALL_MARK, ("<|user|>", "<|assistant|>", "<|python|>", "<|eom|>", "<|eot|>"), "<|end|>",
                  "", "", "<|eot|>")  # fmt: skip
PLAIN = Prompt.make(messages=(HI,), source="rows.jsonl, line 7")


@pytest.mark.parametrize(
    ("family", "sampled", "read"),
    [
        (TWO_ENDS, '<|python|>weather {"city": "Rome"}<|eom|>', '<|python|>weather {"city": "Rome"}<|eom|>'),
        (TWO_ENDS, "Hello<|eot|>", "Hello<|eot|>"),
        (TWO_ENDS, "Hello<|end|>", "Hello<|eot|>"),
        (UNCLOSED, f"{FIRST}<|observation|>", f"{FIRST}<|observation|>"),
        (UNCLOSED, "Hello<|user|>", "Hello<|user|>"),
        (UNCLOSED, "Hello<|endoftext|>", "Hello<|user|>"),
    ],
)
def test_a_sampled_turn_keeps_the_end_that_the_template_gives_such_turns(
    family: Family, sampled: str, read: str
) -> None:
    renderer = renderer_of(family)
    ids = renderer.joining.ids(sampled)
    text = renderer.text(PLAIN, ids)
    completion = Completion.make(PLAIN.id, text, "m", token_ids=ids)
    assert written(renderer, renderer.sequence(PLAIN, completion).completion_ids) == read
    assert not any(mark in text for mark in ("<|eom|>", "<|eot|>", "<|end|>", "<|user|>", "<|observation|>"))


def test_a_calls_own_closing_tag_stays_in_the_words_where_the_configuration_stops_at_it() -> None:
    renderer = renderer_of(replace(UNCLOSED, configured=("</tool_call>",)))
    ids = renderer.joining.ids(FIRST)
    assert ids[-1] in renderer.stop_token_ids
    assert renderer.text(PLAIN, ids) == FIRST
    assert renderer.closed(PLAIN, ids) == ids
