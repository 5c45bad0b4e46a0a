"""Conversations of files → prompts and completions: every form of a turn, and what is text and what is turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.records import Message, Span, ToolCall
from preflab.store.formats import read_file
from preflab.store.formats.base import Imported
from preflab.store.formats.json_rows import BadRow
from preflab.store.formats.turns import conversation

Row = dict[str, Any]
USER = {"role": "user", "content": "Weather?"}
CALL = ToolCall("weather", '{"city": "Rome"}')
FUNCTION = {"name": "weather", "arguments": {"city": "Rome"}}


def read(path: Path, *rows: Row, format: str | None = None) -> Imported:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_file(file, format)


DESCRIBED = {"name": "weather", "description": "Says it.", "parameters": {"type": "object", "properties": {}}}
CALLED: Row = {
    "messages": [
        USER,
        {"role": "assistant", "content": None, "function_call": FUNCTION},
        {"role": "function", "name": "weather", "content": "Sun."},
        {"role": "assistant", "content": "It is sunny."},
    ]
}


@pytest.mark.parametrize("name", ["functions", "available_tools"])
@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    "described", [DESCRIBED, {"type": "function", "function": DESCRIBED}, {"type": "function", **DESCRIBED}]
)
def test_older_columns_of_functions_are_tools(tmp_path: Path, name: str, as_text: bool, described: Row) -> None:
    tools = [{"type": "function", "function": DESCRIBED}]
    held = json.dumps([described]) if as_text else [described]
    found = read(tmp_path, CALLED | {name: held})
    same = read(tmp_path, CALLED | {"tools": tools})
    assert found.prompts[0].columns == {"tools": tools}
    assert (found.prompts[0].id, found.completions[0].id) == (same.prompts[0].id, same.completions[0].id)
    assert found.columns.to_json()["used"][name] == "tools"
    both = read(tmp_path, CALLED | {name: held, "tools": tools})
    assert both.prompts[0].id == same.prompts[0].id
    with pytest.raises(PreflabError, match=f"line 1: '{name}' and 'tools' hold different functions"):
        read(tmp_path, CALLED | {name: held, "tools": [{"type": "function", "function": {"name": "other"}}]})


@pytest.mark.parametrize("held", [[], ["weather"], "weather", [{"title": "x"}], {"name": "x"}, [{"name": "x"}]])
def test_functions_of_another_kind_stay_a_column(tmp_path: Path, held: Any) -> None:
    found = read(tmp_path, CALLED | {"functions": held})
    assert "tools" not in found.prompts[0].columns
    assert found.completions[0].columns.get("functions") == held


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "tool_calls": [{"type": "function", "function": FUNCTION}]},
        {"role": "assistant", "content": None, "tool_calls": [{"function": FUNCTION, "index": 0}]},
        {"role": "assistant", "content": "", "tool_calls": [FUNCTION]},
        {"role": "assistant", "content": "", "tool_calls": [{**FUNCTION, "arguments": '{"city":"Rome"}'}]},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "weather", "parameters": {"city": "Rome"}}]},
        {"role": "assistant", "content": "", "tool_calls": json.dumps([FUNCTION])},
        {"role": "assistant", "content": None, "function_call": FUNCTION},
        {"from": "function_call", "value": json.dumps(FUNCTION)},
        {"from": "function_call", "value": json.dumps([FUNCTION])},
    ],
)
def test_every_form_of_a_call_is_the_same_call(turn: Row) -> None:
    assert conversation([turn], "messages").turns == (Message("assistant", "", tool_calls=(CALL,)),)


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ({"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}, "a call without a name"),
        ({"role": "assistant", "tool_calls": [{**FUNCTION, "arguments": "Rome"}]}, "arguments that are not JSON"),
        ({"role": "assistant", "tool_calls": [{**FUNCTION, "arguments": "[1]"}]}, "arguments that are a list"),
        ({"role": "assistant", "tool_calls": 3}, "a number as tool_calls"),
        ({"from": "function_call", "value": "weather(Rome)"}, "calls a tool by text that is not JSON"),
        ({"role": "user", "content": "x", "tool_calls": [FUNCTION]}, "is the user's and has tool_calls"),
        ({"role": "user", "content": "x", "reasoning_content": "y"}, "is the user's and has thinking"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "a part of type 'image_url'"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "image": "y"}]}, "a part of type 'image'"),
        (
            {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {}}]},
            "a part of type 'tool_use'",
        ),
        ({"role": "user", "content": "x", "weight": 1}, "the weight 1 of a turn"),
        ({"role": "assistant", "content": "x", "weight": 0.5}, "the weight 0.5 of a turn"),
    ],
)
def test_turns_that_cannot_be_held_are_refused(turn: Row, said: str) -> None:
    with pytest.raises(BadRow, match=said):
        conversation([turn], "messages")


def test_names_of_roles_and_forms_of_content() -> None:
    told = [
        {"role": "developer", "content": "Be kind."},
        {"from": "human", "value": "Hi"},
        {"role": "Assistant", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
        {"from": "observation", "value": "sunny"},
        {"role": "model", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Sunny."}]},
        {"role": "assistant", "content": "So.", "reasoning_content": "Well.", "name": "bot", "mood": "calm", "x": None},
    ]
    found = conversation(told, "messages")
    assert found.turns == (
        Message("system", "Be kind."),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("tool", "sunny"),
        Message("assistant", "Sunny.", reasoning="Hm."),
        Message("assistant", "So.", reasoning="Well.", name="bot"),
    )
    assert found.left_out == ("the field 'mood' of turns",)


def test_turns_as_columns_are_the_same_turns(tmp_path: Path) -> None:
    # what `datasets` writes for a list of objects
    talk = {"from": ["human", "gpt"], "value": ["Hi", "Hello"], "weight": [None, None]}
    found = read(tmp_path, {"conversations": talk})
    assert (found.format, found.prompts[0].messages) == ("demonstrations", (Message("user", "Hi"),))
    answers = {"answer": ["Here.", "No."], "model": ["one", "two"], "rank": [2.0, 1.0]}
    found = read(tmp_path, {"prompt": "a", "answers": answers})
    assert (found.format, found.preferences[0].ranks) == ("nectar", (2, 1))
    rated = {"response": ["Here.", "No."], "model": ["one", "two"], "score": [2.0, 1.0]}
    assert read(tmp_path, {"prompt": "a", "completions": rated}).preferences[0].ranks == (1, 2)


@pytest.mark.parametrize("word", [{"weight": 0}, {"train": False}, {"loss": False}, {"weight": 0.0}])
def test_a_turn_may_be_left_alone(word: Row) -> None:
    told = [USER, {"role": "assistant", "content": "a", **word}, USER, {"role": "assistant", "content": "b"}]
    assert conversation(told, "messages").learned == (False, False, False, True)


ANSWER = {"role": "assistant", "content": "Sunny."}
ASKED = (Message("user", "Weather?"),)


@pytest.mark.parametrize(
    ("row", "messages", "spans"),
    [
        ({"prompt": "Weather?", "completion": "Sunny."}, (), (Span("Sunny."),)),
        ({"prompt": [USER], "completion": "Sunny."}, ASKED, (Span("Sunny."),)),
        ({"prompt": "Weather?", "completion": [ANSWER]}, ASKED, (Span("Sunny."),)),
        ({"prompt": "Weather?", "completion": ANSWER}, ASKED, (Span("Sunny."),)),
        ({"prompt": [USER], "completion": [USER, ANSWER]}, ASKED, (Span("Sunny."),)),
        ({"prompt": "Weather?", "completion": [USER, ANSWER]}, ASKED, (Span("Sunny."),)),
        ({"prompt": "Weather?", "completion": "Sunny.", "tools": []}, (), (Span("Sunny."),)),
        ({"prompt": "Weather?", "completion": "Sunny.", "tools": [{"name": "w"}]}, ASKED, (Span("Sunny."),)),
        ({"prompt": "Weather?", "completion": "Sunny.", "system": ""}, (), (Span("Sunny."),)),
        (
            {"prompt": "Weather?", "completion": "Sunny.", "system": "Be kind."},
            (Message("system", "Be kind."), *ASKED),
            (Span("Sunny."),),
        ),
        (
            {"prompt": [USER], "completion": [{**ANSWER, "reasoning_content": "Hm."}]},
            ASKED,
            (Span.of_turn(Message("assistant", "Sunny.", reasoning="Hm.")),),
        ),
        (
            {"prompt": [USER], "completion": [{**ANSWER, "weight": 0}, USER, ANSWER]},
            ASKED,
            (
                Span.of_turn(Message("assistant", "Sunny."), by_policy=False),
                Span.of_turn(Message("user", "Weather?")),
                Span.of_turn(Message("assistant", "Sunny.")),
            ),
        ),
        (
            {"prompt": [USER, {"role": "assistant", "content": "It is"}], "completion": " sunny.",
             "continue_final_message": True},
            (*ASKED, Message("assistant", "It is")),
            (Span(" sunny."),),
        ),
    ],
)  # fmt: skip
def test_a_text_and_a_conversation_are_two_kinds(
    tmp_path: Path, row: Row, messages: tuple[Message, ...], spans: tuple[Span, ...]
) -> None:
    found = read(tmp_path, row)
    assert found.format == "demonstrations"
    assert (found.prompts[0].messages, found.completions[0].spans) == (messages, spans)
    assert found.prompts[0].text == ("" if messages else "Weather?")


def test_columns_of_the_template_belong_to_the_prompt_in_every_format(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    extra = {"tools": json.dumps(tools), "chat_template_kwargs": {"enable_thinking": False}}
    columns = {"tools": tools, "chat_template_kwargs": {"enable_thinking": False}}
    other = {"role": "assistant", "content": "No."}
    rows: list[Row] = [
        {"prompt": [USER]},
        {"prompt": [USER], "completion": [ANSWER]},
        {"messages": [USER, ANSWER]},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [other]},
        {"chosen": [USER, ANSWER], "rejected": [USER, other]},
        {"prompt": [USER], "completion": [ANSWER], "label": True},
        {"prompt": [USER], "completion": [ANSWER], "score": 3},
        {"prompt": [USER], "completions": [[ANSWER], [other]], "ranks": [1, 2]},
        {"prompt": [USER], "response_a": [ANSWER], "response_b": [other], "winner": "tie"},
        {"conversation_a": [USER, ANSWER], "conversation_b": [USER, other], "winner": "model_a"},
        {"context": [USER], "response1": "Sunny.", "response2": "No.", "overall_preference": 1},
        {"prompt": [USER], "completions": [{"response": "a", "score": 1}, {"response": "b", "score": 2}]},
    ]
    for row in rows:
        found = read(tmp_path, row | extra)
        assert [prompt.columns for prompt in found.prompts] == [columns], found.format
        assert all(not completion.columns for completion in found.completions), found.format
    asked = {"input": {"messages": [USER], **extra}, "preferred_output": [ANSWER], "non_preferred_output": [other]}
    assert read(tmp_path, asked).prompts[0].columns == columns


def test_fields_that_no_turn_holds_are_counted_in_every_format(tmp_path: Path) -> None:
    moody, other = {**USER, "mood": "calm"}, {"role": "assistant", "content": "No.", "mood": "calm"}
    rows: list[Row] = [
        {"prompt": [moody], "completion": [other]},
        {"prompt": [moody], "chosen": [ANSWER], "rejected": [other]},
        {"prompt": [moody], "completions": [[ANSWER], [other]], "ranks": [1, 2]},
        {"prompt": [moody], "completions": [[ANSWER], [other]], "scores": [1, 2]},
        {"prompt": [moody], "response_a": [ANSWER], "response_b": [other], "winner": "tie"},
        {"prompt": [moody], "chosen": [[ANSWER]], "rejected": [[other]]},
    ]
    for row in rows:
        found = read(tmp_path, row)
        assert found.left_out == {"the field 'mood' of turns": 2}, found.format


def test_only_one_of_two_system_columns_is_used(tmp_path: Path) -> None:
    found = read(tmp_path, {"system": "Be kind.", "system_prompt": "x", "prompt": "a", "completion": "b"})
    assert found.prompts[0].messages[0] == Message("system", "Be kind.")
    assert found.columns.to_json()["kept"] == ["system_prompt"]


def test_a_system_column_must_agree_with_a_system_turn(tmp_path: Path) -> None:
    row = {"system": "Be kind.", "messages": [{"role": "system", "content": "Be kind. "}, USER, ANSWER]}
    assert read(tmp_path, row).prompts[0].messages == (Message("system", "Be kind. "), *ASKED)
    from preflab.errors import PreflabError

    with pytest.raises(PreflabError, match="another system turn than the column 'system'"):
        read(tmp_path, row | {"system": "Be rude."})


def test_the_last_learned_turn_is_the_completion_and_the_others_are_named(tmp_path: Path) -> None:
    first, second = {**ANSWER, "content": "a"}, {**ANSWER, "content": "b"}
    found = read(tmp_path, {"messages": [USER, {**first, "weight": 0}, USER, second], "system": "Be kind."})
    assert found.completions[0].text == "b"
    assert found.completions[0].columns == {"unlearned_turns": [2]}  # system, user, a
    found = read(tmp_path, {"messages": [USER, first, USER, {**second, "weight": 0}]})
    assert (found.completions[0].text, found.prompts[0].messages) == ("a", ASKED)
    assert found.left_out == {"turns after the last one that is learned": 1}
    found = read(tmp_path, {"prompt": [USER, {**first, "weight": 0}, USER], "completion": [second]})
    assert found.completions[0].columns == {"unlearned_turns": [1]}


def test_calls_and_thinking_of_a_last_turn_are_turns_of_the_completion(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": FUNCTION, "id": "c1"}]}
    found = read(tmp_path, {"messages": [USER, call]})
    turn = Message("assistant", "", tool_calls=(ToolCall("weather", '{"city": "Rome"}', "c1"),))
    assert found.completions[0].spans == (Span.of_turn(turn),)
    other = {"role": "assistant", "content": "no idea"}
    found = read(tmp_path, {"prompt": [USER], "chosen": [call], "rejected": [other]})
    assert [c.turns for c in found.completions] == [(turn,), ()]
    assert found.preferences[0].chosen_rejected() == [(0, 1, 1.0)]


@pytest.mark.parametrize(
    ("cell", "spans"),
    [
        ('{"role": "assistant", "content": "b"}', (Span("b"),)),
        ('[{"from": "gpt", "value": "b"}]', (Span("b"),)),
        ('{"from": "Rome", "to": "Paris"}', (Span('{"from": "Rome", "to": "Paris"}'),)),
        ('{"role": "tool"}', (Span('{"role": "tool"}'),)),
    ],
)
def test_a_turn_as_json_in_a_cell_is_a_turn(tmp_path: Path, cell: str, spans: tuple[Span, ...]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "a", "completion": cell}) + "\n", encoding="utf-8")
    assert read_file(file).completions[0].spans == spans
