"""Completions and pairs under other names are never prompts: they are refused with the renames that fit."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from layout_words import demonstrations, groups
from preflab.errors import PreflabError
from preflab.store.formats import read_file
from preflab.store.formats.advice import in_a_recipe
from preflab.store.formats.columns import rename_option

Row = dict[str, Any]


def written(path: Path, *rows: Row) -> Path:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def refusal(file: Path) -> PreflabError:
    with pytest.raises(PreflabError) as caught:
        read_file(file)
    return caught.value


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("Completion", "completion"),
        (" completion", "completion"),
        ("Response", "response"),
        ("Output", "output"),
        ("response_text", "completion"),
        ("Response Text", "completion"),
        ("human_answer", "completion"),
        ("modelOutput", "completion"),
        ("ideal_response", "completion"),
        ("text", "completion"),
        ("content", "completion"),
        ("story", "completion"),
        ("summary", "completion"),
        ("essay", "completion"),
        ("attempt", "completion"),
        ("deepseek_attempt", "completion"),
    ],
)
def test_a_completion_under_another_name_is_no_prompt(tmp_path: Path, name: str, read: str) -> None:
    file = written(tmp_path, {"prompt": "a", name: "b"})
    error = refusal(file)
    assert "the nearest format is demonstrations" in error.expected
    assert shlex.split(error.do)[-3:] == [f"{name}={read}", "--format", "demonstrations"]
    assert demonstrations(read_file(file, rename={name: read})) == [("a", "b")]


def test_what_was_written_to_a_prompt_makes_it_no_prompt(tmp_path: Path) -> None:
    cosmopedia = {"prompt": "a", "text_token_length": 3, "text": "b", "seed_data": "c", "format": "d", "audience": "e"}
    error = refusal(written(tmp_path, cosmopedia))
    assert error.do == "if that is what it is: --column text=completion --format demonstrations"
    error = refusal(written(tmp_path, {"prompt": "a", "code": "def f():\n    pass"}))
    assert error.do == "if that is what it is: --column code=completion --format demonstrations"
    s1 = {"question": "a", "solution": "b", "gemini_attempt": "c", "deepseek_attempt": "d"}
    error = refusal(written(tmp_path, s1))
    assert "--column gemini_attempt=completion --format demonstrations" in error.do
    s1 = {"question": "a", "solution": "b", "attempt": "c", "cot_type": "math"}
    assert "--column attempt=completion --format demonstrations" in refusal(written(tmp_path, s1)).do


@pytest.mark.parametrize(
    ("better", "worse"),
    [("correct_answer", "wrong_answer"), ("best_response", "worst_response"), ("right_answer", "wrong_answer")],
)
def test_opposite_names_are_a_pair_once_they_are_renamed(tmp_path: Path, better: str, worse: str) -> None:
    file = written(tmp_path, {"prompt": "a", better: "b", worse: "c"})
    error = refusal(file)
    assert f"--column {better}=chosen --column {worse}=rejected --format trl-explicit" in error.do
    pair = {"prompt": "a", "ranks": {"b": 1, "c": 2}, "pairs": {("b", "c"): 1.0}}
    assert groups(read_file(file, rename={better: "chosen", worse: "rejected"})) == [pair]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("response_x", "response_y"),
        ("answer_left", "answer_right"),
        ("human_ref_A", "human_ref_B"),
        ("candidate_a", "candidate_b"),
        ("response_first", "response_second"),
    ],
)
def test_two_completions_without_a_winner_are_no_prompt(tmp_path: Path, one: str, other: str) -> None:
    row = {"prompt": "a", one: "b", other: "c"}
    assert refusal(written(tmp_path, row)).expected.endswith("winner is missing")
    error = refusal(written(tmp_path, row | {"better": "a"}))
    assert f"--column {one}=response_a --column {other}=response_b --column better=winner" in error.do


def test_advice_is_quoted_for_a_shell_and_for_a_recipe(tmp_path: Path) -> None:
    file = written(tmp_path, {"prompt": "a", "best answer": "b", "it's worst": "c", "worst answer": "d"})
    error = refusal(file)
    assert "--column 'best answer=chosen' --column 'worst answer=rejected' --format trl-explicit" in error.do
    words = shlex.split(error.do.partition(": ")[2])
    renames = dict(word.split("=") for word in words if "=" in word)
    pair = {"prompt": "a", "ranks": {"b": 1, "d": 2}, "pairs": {("b", "d"): 1.0}}
    assert groups(read_file(file, words[-1], rename=renames)) == [pair]
    assert in_a_recipe(error.do, "d").endswith(
        '`columns: {"best answer": chosen, "worst answer": rejected}` in data.d `format: trl-explicit` in data.d'
    )
    with pytest.raises(PreflabError, match=re.escape("(near it: promt es; --column 'promt es=prompt' renames it)")):
        read_file(written(tmp_path, {"promt es": "a", "completion": "b"}), "demonstrations")
    assert rename_option("it's", "prompt") == """--column 'it'"'"'s=prompt'"""
    quoted = rename_option("it's", "prompt")
    assert in_a_recipe(f"do: {quoted} --format x", "d").startswith("""do: `columns: {"it's": prompt}` in data.d""")


def test_of_an_edited_and_an_unedited_completion_the_edited_one_is_advised(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "a"}]
    row = {"context": asked, "original_response": "b", "edited_response": "c", "change_summary": "d"}
    error = refusal(written(tmp_path, row))
    assert "--column edited_response=completion" in error.do
    assert "original_response" not in error.do


def test_stack_exchange_says_the_better_one_by_its_name(tmp_path: Path) -> None:
    row = {"qid": 1, "question": "a", "date": "2020", "metadata": ["x"], "response_j": "b", "response_k": "c"}
    found = read_file(written(tmp_path, row))
    assert found.format == "stack-exchange-paired"
    assert groups(found) == [{"prompt": "a", "ranks": {"b": 1, "c": 2}, "pairs": {("b", "c"): 1.0}}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "correct_answer": "b"},
        {"prompt": "a", "reference_response": "b", "expected_output": "c", "gold_answer": "d"},
        {"question": "a", "answer": "b", "answer_type": "int", "response_format": "json", "response_language": "en"},
        {"question": "a", "correct_answer": "b", "incorrect_answers": ["c"]},
        {"question": "a", "text": "The passage.", "answer": "b"},
        {"prompt": "a", "code": "def f(): pass", "test": "assert f() is None"},
        {"prompt": "a", "code": "en", "attempt": "2", "max_attempts": "3", "last_attempt": "2024-01-01"},
        {"prompt": "a", "text": "", "summary": None, "content": {"x": 1}},
        {"prompt": "a", "model_a": "x", "model_b": "y", "option_a": "c", "option_b": "d"},
    ],
)
def test_columns_to_check_completions_against_stay_with_the_prompt(tmp_path: Path, row: Row) -> None:
    assert read_file(written(tmp_path, row)).format == "prompts"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "z", "completion": "b"},
        {"prompt": "z", "Response": "b"},
        {"prompt": "z", "text": "b"},
        {"prompt": "z", "response_a": "b", "response_b": "c"},
        {"prompt": "z", "completions": ["b", "c"]},
        {"prompt": "z", "messages": [{"role": "user", "content": "z"}, {"role": "assistant", "content": "b"}]},
    ],
)
def test_a_later_row_with_a_completion_stops_a_guess_of_prompts(tmp_path: Path, row: Row) -> None:
    rows: list[Row] = [{"prompt": str(n)} for n in range(25)]
    file = written(tmp_path, *rows, row)
    with pytest.raises(PreflabError, match=re.escape(f"line 26: a completion in {list(row)[1]}")):
        read_file(file)
    assert len(read_file(file, "prompts").prompts) == 26, "who names the format is obeyed"


def test_a_later_row_with_an_answer_stops_a_guess_of_texts(tmp_path: Path) -> None:
    file = written(tmp_path, *({"text": str(n)} for n in range(25)), {"text": "z", "summary": "b"})
    assert "line 26: the columns text, summary: more than a text" in refusal(file).found


def test_spaces_around_the_names_of_a_table_are_taken_away_and_said(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("prompt, completion\na,b\n")
    found = read_file(file)
    assert demonstrations(found) == [("a", "b")]
    assert found.notes == ["spaces around the names of columns were removed: ' completion'"]
    file.write_text("prompt,prompt \na,b\n")
    assert "the column 'prompt' is twice in the header" in refusal(file).found
    file.write_text('prompt, "completion"\na,b\n')
    assert 'a quotation mark after a space in the header: "completion"' in refusal(file).found


@pytest.mark.parametrize("said", [{"status": "Tie"}, {"winner": "draw"}, {"is_tie": True}, {"tie": "1"}])
def test_a_pair_that_is_said_to_be_a_tie_is_one(tmp_path: Path, said: Row) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    tie = {"prompt": "a", "ranks": {"b": 1, "c": 1}, "ties": [{"b", "c"}]}
    assert groups(read_file(written(tmp_path, row | said))) == [tie]
    found = read_file(written(tmp_path, row | said, row, row | said))  # one vote for b, two for neither
    assert [(p.num_for, p.num_against, p.num_tie) for p in found.preferences[0].pairs] == [(1.0, 0.0, 2.0)]
    assert found.preferences[0].ranks == (1, 2)


@pytest.mark.parametrize("said", [{"status": "swapped"}, {"status": "unchanged"}, {"winner": "chosen"}, {"tie": False}])
def test_any_other_status_leaves_the_pair_as_its_columns_say(tmp_path: Path, said: Row) -> None:
    file = written(tmp_path, {"prompt": "a", "chosen": "b", "rejected": "c"} | said)
    assert groups(read_file(file)) == [{"prompt": "a", "ranks": {"b": 1, "c": 2}, "pairs": {("b", "c"): 1.0}}]
