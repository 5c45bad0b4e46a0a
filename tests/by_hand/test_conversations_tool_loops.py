"""Turns that call tools where templates are particular: words beside a call, loops of calls, thinking as a part."""

from __future__ import annotations

from typing import Any

import pytest

from chat_templates import (
    BY_NAME,
    CLOSES_LAST_RESULT,
    HI,
    LLAMA3,
    ONE_OF_BOTH,
    PARTS,
    Family,
    byte_tokenizer,
)
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.policy.sft import Demonstration, encode_demonstrations
from preflab.records import Completion, Message, Prompt, ToolCall, spans_of_turns
from preflab.training.batches import TokenSequence
from preflab.training.too_long import LongRows

CHAT = BY_NAME["chatml"].special
CALL = Message("assistant", "", tool_calls=(ToolCall("weather", '{"city": "Rome"}'),))
TALKS = Message("assistant", "I ask.", tool_calls=CALL.tool_calls)
RESULT, DONE = Message("tool", "sunny"), Message("assistant", "It is sunny.")


def renderer_of(template: str, special: tuple[str, ...] = CHAT, end: str = "<|im_end|>") -> Renderer:
    return Renderer(byte_tokenizer(Family("t", template, special, end, "", "", "")))


def learned(renderer: Renderer, sequence: TokenSequence) -> str:
    mask = sequence.policy_tokens or (True,) * len(sequence.completion_ids)
    pairs = zip(sequence.completion_ids, mask, strict=True)
    return str(renderer.tokenizer.decode([token for token, is_learned in pairs if is_learned]))


def said(*turns: Message) -> Completion:
    return Completion.make("p", "", "m", spans=spans_of_turns(turns))


@pytest.mark.parametrize("in_prompt", [False, True])
def test_words_beside_a_call_that_is_written_are_named_alone(in_prompt: bool) -> None:
    renderer = renderer_of(ONE_OF_BOTH, BY_NAME["llama3"].special, "<|eot_id|>")
    prompt = Prompt.make(messages=(HI, TALKS, RESULT) if in_prompt else (HI,), source="rows.jsonl, line 4")
    with pytest.raises(PreflabError, match="line 4: .*write the words of turn 2 beside its call of weather"):
        renderer.sequence(prompt, said(DONE if in_prompt else TALKS))
    sequence = renderer.sequence(Prompt.make(messages=(HI,)), said(CALL))
    assert learned(renderer, sequence) == '<tool_call>weather {"city": "Rome"}</tool_call><|eot_id|>'


def test_a_loop_of_calls_is_written_where_the_template_closes_the_last_result_in_another_way() -> None:
    renderer = renderer_of(CLOSES_LAST_RESULT)
    call = '<tool_call>weather {"city": "Rome"}</tool_call><|im_end|>'
    prompt = Prompt.make(messages=(HI, CALL, RESULT))
    assert learned(renderer, renderer.sequence(prompt, said(CALL))) == call
    asked = renderer.tokenizer.decode(list(renderer.prompt_ids(prompt)))
    assert asked.endswith("<r>sunny</r><|im_end|><|im_start|>assistant\n")
    row = Demonstration(Prompt.make(messages=(HI,)), said(CALL, RESULT, CALL, RESULT, DONE))
    found = encode_demonstrations(renderer, [row], LongRows(1000, "refuse"), learn="all")
    assert "".join(learned(renderer, one) for one in found) == call + call + "It is sunny.<|im_end|>"


@pytest.mark.parametrize("words", ["", "I ask."])
def test_thinking_that_a_template_knows_as_a_part_of_content_is_written_beside_words_and_calls(words: str) -> None:
    renderer = renderer_of(PARTS, ("[INST]", "[/INST]", "[THINK]", "[/THINK]"), "</s>")
    thinks: dict[str, Any] = {"reasoning": "hm"}
    calling = Message("assistant", words, tool_calls=CALL.tool_calls, **thinks)
    text = f'[THINK]hm[/THINK]{words}<tool_call>weather {{"city": "Rome"}}</tool_call></s>'
    assert learned(renderer, renderer.sequence(Prompt.make(messages=(HI,)), said(calling))) == text
    answer = Message("assistant", "It is.", **thinks)
    assert learned(renderer, renderer.sequence(Prompt.make(messages=(HI,)), said(answer))) == (
        "[THINK]hm[/THINK]It is.</s>"
    )
    after = renderer.tokenizer.decode(list(renderer.prompt_ids(Prompt.make(messages=(HI, calling, RESULT)))))
    assert text in after


def test_a_template_that_would_show_the_parts_themselves_is_given_none() -> None:
    renderer = renderer_of(LLAMA3.replace("m.content | trim", "m.content | string"), BY_NAME["llama3"].special)
    with pytest.raises(PreflabError, match="does not write the completion's thinking"):
        renderer.sequence(Prompt.make(messages=(HI,)), said(Message("assistant", "x", reasoning="hm")))
