"""Answers that were cut, begun by the prompt, or written by a policy in a form that its template would refuse."""

from __future__ import annotations

from typing import Any

import pytest

from chat_templates import BY_NAME, FAMILIES, HI, OPENED, Family, byte_tokenizer, configured_ids
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.records import Completion, Message, Prompt, ToolCall, spans_of_turns

ASKED = Prompt.make(messages=(HI,), source="rows.jsonl, line 3")
THINKS_FIRST = Family("opened", OPENED, ("<|im_start|>", "<|im_end|>"), "<|im_end|>", "", "", "<|im_end|>")
LEADS = {"llama2": " ", "mistral": " ", "falcon": " ", "thinking": "<think>\n\n</think>\n\n",
         "harmony": "<|channel|>final<|message|>"}  # fmt: skip
"""What stands before the words, by the tables of `chat_templates`."""


def renderer_of(family: Family) -> Renderer:
    tokenizer = byte_tokenizer(family)
    return Renderer(tokenizer, configured_ids(family, tokenizer))


def written(renderer: Renderer, ids: Any) -> str:
    return renderer.joining.text(ids, special=True)


def cut(renderer: Renderer, text: str, *turns: Message) -> str:
    spans = {"spans": spans_of_turns(turns)} if turns else {}
    completion = Completion.make(ASKED.id, text, "m", finish_reason="length", **spans)
    return written(renderer, renderer.sequence(ASKED, completion).completion_ids)


@pytest.mark.parametrize("text", ["Hello", "i", "end", "s", "<", "im_e", "Hello ", "two\n", "   "])
@pytest.mark.parametrize("family", [f for f in FAMILIES if f.template], ids=lambda family: family.name)
def test_a_cut_answer_is_its_words_and_nothing_of_an_end(family: Family, text: str) -> None:
    assert cut(renderer_of(family), text) == LEADS.get(family.name, "") + text


@pytest.mark.parametrize(
    ("family", "text", "right"),
    [
        (THINKS_FIRST, "<think>\nhm", "hm"),
        (THINKS_FIRST, "<think>\nhm\n</think>\n\nmonday", "hm\n</think>\n\nmonday"),
        (BY_NAME["thinking"], "<think>\nhm", "<think>\nhm"),
        (BY_NAME["thinking"], "<think>\nhm\n</think>\n\nmonday", "<think>\nhm\n</think>\n\nmonday"),
        (BY_NAME["chatml"], "<think>\nhm", "<think>\nhm"),
    ],
)
def test_cut_thinking_stands_as_it_was_thought(family: Family, text: str, right: str) -> None:
    assert cut(renderer_of(family), text) == right


def test_a_cut_turn_of_thinking_or_calls_has_no_end() -> None:
    renderer = renderer_of(BY_NAME["thinking"])
    assert cut(renderer, "", Message("assistant", "", reasoning="hm")) == "<think>\nhm"
    call = Message("assistant", "", tool_calls=(ToolCall("weather", '{"city": "Rome"}'),))
    assert cut(renderer, "", call).endswith('weather {"city": "Rome"}</tool_call>')


@pytest.mark.parametrize("words", ["<", "The e", "i", "two ", "assistant"])
@pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "mistral", "falcon"])
def test_a_begun_answer_ends_the_prompt_letter_for_letter(name: str, words: str) -> None:
    begun = Prompt.make(messages=(HI, Message("assistant", words)), columns={"continue_final_message": True})
    renderer, family = renderer_of(BY_NAME[name]), BY_NAME[name]
    assert written(renderer, renderer.prompt_ids(begun)) == family.prompt + LEADS.get(name, "") + words
    assert written(renderer, renderer.completion_ids(begun, "nd")) == "nd" + family.answer.partition("Hello")[2]


def test_a_begun_answer_does_not_hide_tools_that_the_template_drops() -> None:
    columns = {"continue_final_message": True, "tools": [{"type": "function", "function": {"name": "weather"}}]}
    begun = Prompt.make(
        messages=(HI, Message("assistant", "The weather")), columns=columns, source="rows.jsonl, line 2"
    )
    with pytest.raises(PreflabError, match="line 2: .*does not write the tool weather"):
        renderer_of(BY_NAME["chatml"]).prompt_ids(begun)


def test_a_turn_whose_system_turn_moves_keeps_its_own_words() -> None:
    prompt = Prompt.make(messages=(Message("system", "Be kind"), HI))
    renderer = renderer_of(BY_NAME["mistral with system"])
    for words in ("s", "/s", "<", "Hello"):
        assert written(renderer, renderer.completion_ids(prompt, words)) == f"{words}</s>"


@pytest.mark.parametrize("first", [Message("user", "And?"), Message("tool", "sunny")])
def test_a_completion_begins_with_the_assistants_turn(first: Message) -> None:
    turns = spans_of_turns((first, Message("assistant", "Hello")))
    with pytest.raises(PreflabError, match=f"line 3: a completion that begins with the {first.role}'s turn"):
        renderer_of(BY_NAME["chatml"]).sequence(ASKED, Completion.make(ASKED.id, "", "m", spans=turns))


@pytest.mark.parametrize(
    ("family", "text", "right"),
    [
        # "</think> x" would be split by the template, and thinking that is never closed would be no turn of its own.
        (BY_NAME["thinking"], "</think> x", "<think>\n\n</think>\n\n</think> x<|im_end|>"),
        (THINKS_FIRST, "<think>\nnever closed", "never closed<|im_end|>"),
    ],
)
def test_what_a_policy_wrote_is_scored_letter_for_letter(family: Family, text: str, right: str) -> None:
    renderer, said = renderer_of(family), Completion.make(ASKED.id, text, "m")
    with pytest.raises(PreflabError, match="line 3"):
        renderer.sequence(ASKED, said)
    ids = renderer.scored(ASKED, said).completion_ids
    assert written(renderer, ids) == right
    assert [token for token in ids if token in renderer.stop_token_ids] == [ids[-1]]
    tame = Completion.make(ASKED.id, "<think>\nhm\n</think>\n\nHello", "m")
    assert renderer.scored(ASKED, tame) == renderer.sequence(ASKED, tame)


def test_a_plain_answer_to_a_template_that_opens_thinking_is_no_answer_of_its_model() -> None:
    with pytest.raises(PreflabError, match="line 3: .*does not think"):
        renderer_of(THINKS_FIRST).scored(ASKED, Completion.make(ASKED.id, "Hello", "m"))


def test_a_judges_label_follows_closed_thinking() -> None:
    renderer = renderer_of(THINKS_FIRST)
    assert written(renderer, renderer.answer_ids(ASKED, "A")) == "\n</think>\n\nA"
    assert written(renderer_of(BY_NAME["chatml"]), renderer_of(BY_NAME["chatml"]).answer_ids(ASKED, "A")) == "A"


def test_a_stop_that_a_recipe_names_is_no_part_of_the_words() -> None:
    tokenizer = byte_tokenizer(BY_NAME["chatml"])
    (line,) = tokenizer("\n", add_special_tokens=False)["input_ids"]
    renderer = Renderer(tokenizer, instead=(line,))
    sampled = (*renderer.joining.ids("Hello"), line)
    assert renderer.text(ASKED, sampled) == "Hello"
    assert written(renderer, renderer.closed(ASKED, sampled)) == "Hello<|im_end|>"
    assert renderer.text(Prompt.make(text="Q:"), sampled) == "Hello"


def test_samples_of_earlier_versions_keep_their_tokens() -> None:
    # Their text was everything that was sampled but special tokens, without the tag that the prompt had opened.
    renderer = renderer_of(THINKS_FIRST)
    ids = (*renderer.joining.ids("hm\n</think>\n\nmonday"), renderer.stop_token_ids[-1])
    stored = Completion.make(ASKED.id, "hm\n</think>\n\nmonday", "m", token_ids=ids)
    assert renderer.sequence(ASKED, stored).completion_ids == ids
