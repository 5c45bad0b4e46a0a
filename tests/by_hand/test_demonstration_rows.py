"""Rows of demonstrations: what a stage writes is read back as the same records, and a cut answer learns no end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from chat_templates import BY_NAME, byte_tokenizer
from preflab.conversations.renderer import Renderer
from preflab.policy.sft import Demonstration, encode_demonstrations
from preflab.records import Completion, FinishReason, Message, Prompt, Span, ToolCall
from preflab.stages.common.data import demonstrations_in
from preflab.stages.common.demonstrations import demonstration_lines
from preflab.store.exports.base import Material
from preflab.store.exports.trainers import EXPORTS
from preflab.training.too_long import LongRows

CALL = ToolCall("weather", '{"city": "Rome"}', "call00001")
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
TALK = (
    Message("system", "Be kind."),
    Message("user", "Is it warm?", name="Ada"),
    Message("assistant", "", reasoning="I have to look.", tool_calls=(CALL,)),
    Message("tool", "21 degrees", name="weather", tool_call_id="call00001"),
)


@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_rows_are_read_as_the_records_they_are_made_of(tmp_path: Path, finish_reason: FinishReason) -> None:
    asked = Prompt.make(messages=TALK, columns={"tools": TOOLS, "chat_template_kwargs": {"a": 1}, "topic": "weather"})
    plain = Prompt.make(text="Hi ", columns={"topic": "greeting"})
    turns = (Message("assistant", "", reasoning="Again.", tool_calls=(CALL,)), TALK[3], Message("assistant", "Yes."))
    spans = tuple(Span.of_turn(turn) for turn in turns)
    said = [
        (asked, Completion.make(asked.id, "It is.", "m", finish_reason=finish_reason)),
        (asked, Completion.make(asked.id, "", "m", spans=spans, finish_reason=finish_reason)),
        (plain, Completion.make(plain.id, "there", "m", finish_reason=finish_reason)),
    ]
    path = tmp_path / "demonstrations.jsonl"
    path.write_text(demonstration_lines(said), encoding="utf-8")
    read = demonstrations_in(path, "demonstrations")
    for (prompt, completion), (prompt_read, completion_read) in zip(said, read, strict=True):
        assert (prompt_read.text, prompt_read.messages) == (prompt.text, prompt.messages)
        assert completion_read.spans == completion.spans
        assert completion_read.finish_reason == finish_reason
        assert completion_read.columns == {"topic": prompt.columns["topic"]}
        of_template = {name: value for name, value in prompt.columns.items() if name != "topic"}
        assert prompt_read.columns == of_template


def learned(path: Path, row: dict[str, Any], family: str, learn: Literal["last", "all"] = "last") -> list[str]:
    """The tokens that are learned, a letter or a special token each, in one text per sequence."""
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    tokenizer = byte_tokenizer(BY_NAME[family])
    rows = [Demonstration(*pair) for pair in demonstrations_in(path)]
    found = []
    for sequence in encode_demonstrations(Renderer(tokenizer), rows, LongRows(500, "refuse"), learn=learn):
        mask = sequence.policy_tokens or (True,) * len(sequence.completion_ids)
        ids = [token for token, counts in zip(sequence.completion_ids, mask, strict=True) if counts]
        found.append(tokenizer.decode(ids))
    return found


USER, ANSWER, MORE = (
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "assistant", "content": "Bye"},
)


@pytest.mark.parametrize(
    ("row", "family", "learn", "text", "end"),
    [
        ({"prompt": "Hi ", "completion": "Hello"}, "no template", "last", ["Hello"], "</s>"),
        ({"prompt": [USER], "completion": "Hello"}, "chatml", "last", ["Hello"], "<|im_end|>"),
        ({"prompt": [USER], "completion": "Hello"}, "mistral", "last", [" Hello"], "</s>"),
        ({"prompt": [USER], "completion": "Hello"}, "falcon", "last", [" Hello"], "<|endoftext|>"),
        ({"messages": [USER, ANSWER]}, "gemma", "last", ["Hello"], "<end_of_turn>"),
        ({"prompt": [USER], "completion": [ANSWER, USER, MORE]}, "chatml", "last", ["Hello<|im_end|>Bye"],
         "<|im_end|>"),
        ({"messages": [USER, ANSWER, USER, MORE]}, "chatml", "all", ["Hello<|im_end|>Bye"], "<|im_end|>"),
        ({"messages": [USER, ANSWER, USER, MORE]}, "thinking", "all",
         ["<think>\n\n</think>\n\nHello<|im_end|>", "<think>\n\n</think>\n\nBye"], "<|im_end|>"),
    ],
)  # fmt: skip
def test_a_cut_answer_learns_no_end(
    tmp_path: Path, row: dict[str, Any], family: str, learn: Literal["last", "all"], text: list[str], end: str
) -> None:
    path = tmp_path / "rows.jsonl"
    assert learned(path, row, family, learn) == [*text[:-1], text[-1] + end]
    assert learned(path, {**row, "finish_reason": "stop"}, family, learn) == [*text[:-1], text[-1] + end]
    assert learned(path, {**row, "finish_reason": "tool_calls"}, family, learn) == [*text[:-1], text[-1] + end]
    assert learned(path, {**row, "finish_reason": "length"}, family, learn) == text


@pytest.mark.parametrize("family", ["no template", "chatml"])
def test_of_a_text_the_first_token_is_read_where_nothing_begins_it(tmp_path: Path, family: str) -> None:
    """Tokens are bytes, and the tokenizer puts no begin token: there is nothing to write the first one after."""
    ended = byte_tokenizer(BY_NAME[family]).eos_token
    assert learned(tmp_path / "rows.jsonl", {"text": "Hello"}, family) == [f"ello{ended}"]
    assert learned(tmp_path / "rows.jsonl", {"text": "H"}, family) == [ended]


def test_a_reason_of_a_turn_that_is_left_out_says_nothing_of_the_one_that_is_learned(tmp_path: Path) -> None:
    row = {"messages": [USER, ANSWER, USER, {**MORE, "weight": 0}], "finish_reason": "length"}
    assert learned(tmp_path / "rows.jsonl", row, "chatml") == ["Hello<|im_end|>"]


def test_other_reasons_stay_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b", "finish_reason": "content_filter"}\n', encoding="utf-8")
    ((_, completion),) = demonstrations_in(path)
    assert (completion.finish_reason, completion.columns) == ("imported", {"finish_reason": "content_filter"})


@pytest.mark.parametrize("reason", ["stop", "length", None])
def test_an_export_of_demonstrations_says_how_they_ended(tmp_path: Path, reason: str | None) -> None:
    row = {"prompt": "a", "completion": "b", **({"finish_reason": reason} if reason else {})}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    ((prompt, completion),) = demonstrations_in(path)
    (export,) = [each for each in EXPORTS if each.name == "demonstrations"]
    (written,) = export.rows(completion, Material({prompt.id: prompt}, {completion.id: completion}))
    assert written == row
