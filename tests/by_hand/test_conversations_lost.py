"""What a chat template leaves out of a conversation: thinking of earlier turns, on purpose or because it knows none."""

from __future__ import annotations

import pytest

from chat_templates import BY_NAME, CHATML, HI, Family, byte_tokenizer
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.policy.sft import Demonstration, encode_demonstrations
from preflab.records import Completion, Message, Prompt, spans_of_turns
from preflab.training.too_long import LongRows

STRIPS = CHATML.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")
STRIPS_EARLIER = CHATML.replace("{{ m.content }}", "{{ m.content if loop.last else m.content.split('[/THINK]')[-1] }}")
OF_CALLS = CHATML.replace("{{ m.content }}", "{% if m.tool_calls %}{{ m.reasoning }}{% endif %}{{ m.content }}")
THOUGHT = Message("assistant", "monday", reasoning="SECRET")
NEXT, LAST = Message("user", "And now?"), Message("assistant", "tuesday")


def renderer_of(template: str | None) -> Renderer:
    return Renderer(byte_tokenizer(Family("t", template, BY_NAME["chatml"].special, "<|im_end|>", "", "", "")))


def test_earlier_thinking_that_a_template_knows_nothing_of_is_refused_by_line() -> None:
    prompt = Prompt.make(messages=(HI, THOUGHT, NEXT), source="rows.jsonl, line 3")
    row = Demonstration(prompt, Completion.make(prompt.id, "tuesday", "m"))
    for learn in ("last", "all"):
        with pytest.raises(PreflabError, match="line 3: .*does not write the"):
            encode_demonstrations(renderer_of(CHATML), [row], LongRows(1000, "refuse"), learn=learn)
    with pytest.raises(PreflabError, match="line 3: .*does not write the thinking of turn 2"):
        renderer_of(CHATML).prompt_ids(prompt)


@pytest.mark.parametrize(
    "template",
    [BY_NAME["thinking"].template, STRIPS, STRIPS_EARLIER, OF_CALLS],
    ids=["writes the last", "takes it out", "takes it out of earlier turns", "writes that of calls"],
)
def test_earlier_thinking_that_a_template_leaves_out_on_purpose_is_left_out(template: str) -> None:
    renderer = renderer_of(template)
    ids = renderer.prompt_ids(Prompt.make(messages=(HI, THOUGHT, NEXT)))
    assert "SECRET" not in renderer.tokenizer.decode(list(ids))
    assert ids == renderer.prompt_ids(Prompt.make(messages=(HI, Message("assistant", "monday"), NEXT)))


def test_earlier_thinking_that_a_template_writes_stays() -> None:
    writes = CHATML.replace("{{ m.content }}", "{{ m.reasoning_content }}{{ m.content }}")
    renderer = renderer_of(writes)
    text = renderer.tokenizer.decode(list(renderer.prompt_ids(Prompt.make(messages=(HI, THOUGHT, NEXT)))))
    assert "<|im_start|>assistant\nSECRETmonday<|im_end|>" in text


def test_the_thinking_of_a_begun_answer_is_missed_too() -> None:
    columns = {"continue_final_message": True}
    prompt = Prompt.make(messages=(HI, THOUGHT), columns=columns, source="rows.jsonl, line 5")
    with pytest.raises(PreflabError, match="line 5: .*does not write the thinking of turn 2"):
        renderer_of(CHATML).prompt_ids(prompt)


def test_thinking_within_a_completion_stays_where_the_model_wrote_it() -> None:
    prompt = Prompt.make(messages=(HI,))
    said = Completion.make(prompt.id, "", "m", spans=spans_of_turns((THOUGHT, NEXT, LAST)))
    renderer = renderer_of(BY_NAME["thinking"].template)
    text = renderer.tokenizer.decode(list(renderer.sequence(prompt, said).completion_ids))
    assert text.startswith("<think>\nSECRET\n</think>\n\nmonday<|im_end|>")
