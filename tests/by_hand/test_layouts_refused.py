"""Rows that are of no layout, or of two, are refused with what was seen and the line that would make them fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layout_words import demonstrations, groups
from preflab.errors import PreflabError
from preflab.store.formats import read_file
from preflab.store.formats.advice import in_a_recipe

Row = dict[str, Any]
USER = {"role": "user", "content": "Where?"}
HERE, GONE = ({"role": "assistant", "content": words} for words in ("Here.", "Gone."))


def written(path: Path, rows: list[Row]) -> Path:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def refusal(path: Path, *rows: Row) -> PreflabError:
    with pytest.raises(PreflabError) as caught:
        read_file(written(path, list(rows)))
    return caught.value


TWO = {"prompt": "a", "answer_a": "b", "answer_b": "c"}
NEAREST: list[tuple[Row, str, str]] = [
    (TWO | {"winner": "a"}, "comparisons", "--column answer_a=response_a --column answer_b=response_b"),
    (TWO | {"preference": "a"}, "comparisons", "--column preference=winner"),
    (TWO | {"preferred_index": 1}, "pku-saferlhf", "--column preferred_index=better_response_id"),
    (TWO | {"overall_preference": -2}, "helpsteer3", "--column answer_a=response1 --column answer_b=response2"),
    ({"prompt": "a", "good": "b", "bad": "c"}, "trl-explicit", "--column good=chosen --column bad=rejected"),
    ({"prompt": "a", "y_w": "b", "y_l": "c"}, "trl-explicit", "--column y_w=chosen --column y_l=rejected"),
    ({"prompt": "a", "chosen_answer": "b", "rejected_answer": "c"}, "trl-explicit", "--column chosen_answer=chosen"),
    ({"question": "a", "answer": "b", "score": 3}, "ratings", "--column question=prompt --column answer=completion"),
    ({"prompt": "a", "completion": "b", "votes": 3}, "ratings", "--column votes=score"),
    ({"prompt": "a", "completion": "b", "is_good": True}, "trl-unpaired", "--column is_good=label"),
    (
        {"prompt": "a", "response_0": "b", "response_1": "c", "safer_response_id": 0},
        "pku-saferlhf",
        "safer_response_id=",
    ),
    ({"goal": "a", "target": "b"}, "demonstrations", "--column goal=prompt --column target=completion"),
    ({"prompt": "a", "prediction": "b"}, "demonstrations", "--column prediction=completion"),
    ({"prompt": "a", "model_output": "b"}, "demonstrations", "--column model_output=completion"),
    ({"text": "a", "answer": "b"}, "demonstrations", "--column text=prompt --column answer=completion"),
    ({"text": "a", "summary": "b"}, "demonstrations", "--column text=prompt --column summary=completion"),
    ({"prompt": "a", "completion": "b", "stars": 4}, "ratings", "--column stars=score"),
    ({"prompt": "a", "completion": "b", "helpful": True}, "trl-unpaired", "--column helpful=label"),
    ({"prompt": "a", "completion": "b", "won": False}, "trl-unpaired", "--column won=label"),
    ({"prompt": "a", "completion": "b", "success": False}, "trl-unpaired", "--column success=label"),
    ({"prompt": "a", "completion": "b", "is_best": False}, "trl-unpaired", "--column is_best=label"),
    ({"prompt": "a", "completion": "b", "Helpfulness": 0}, "ratings", "--column Helpfulness=helpfulness"),
    ({"Prompt": "a", "Response": "b", "Score": 3}, "ratings", "--column Response=response --column Score=score"),
    ({"question": "a", "prediction": "b", "correct": True}, "trl-unpaired", "--column prediction=completion"),
    ({"question": "a", "answer": "b", "is_correct": False}, "trl-unpaired", "--column is_correct=label"),
    ({"prompt": "a", "answer": "b", "good": False}, "trl-unpaired", "--column answer=completion --column good=label"),
    ({"question": "a", "answer": "b", "stars": 2}, "ratings", "--column answer=completion --column stars=score"),
]
MEASURES = {
    "points": 2, "advantage": -1.5, "utility": -1.5, "value": -1.5, "mark": 3, "elo": 900, "acceptability": 0,
    "judge_output": 3, "judge": 4, "human_eval": 2, "confidence": 0.2, "sentiment": -0.5, "win_rate": 0.4, "karma": -3,
    "penalty": 1.5, "usefulness": 2, "agreement": 0.5, "answer_points": "2",
}  # fmt: skip
"""Column → a number in it that judges the completion beside it."""


@pytest.mark.parametrize("name", MEASURES)
def test_a_number_that_judges_a_completion_stops_a_guess_of_demonstrations(tmp_path: Path, name: str) -> None:
    for row in ({"prompt": "a", "completion": "b"}, {"messages": [USER, HERE]}):
        error = refusal(tmp_path, row | {name: MEASURES[name]})
        assert f"; {name} tells of a judgment" in error.found
        assert "--format" in error.do
        assert len(read_file(tmp_path / "rows.jsonl", "demonstrations").demonstrations) == 1, "who names it is obeyed"


@pytest.mark.parametrize("name", ["value", "confidence", "points", "mark"])
def test_an_ambiguous_number_is_refused_with_both_ways_to_read_it(tmp_path: Path, name: str) -> None:
    error = refusal(tmp_path, {"prompt": "a", "completion": "b", name: 3})
    assert error.do == (
        f"if that is what it is: --column {name}=score --format ratings; where there is nothing to learn from it: "
        "--format demonstrations"
    )


@pytest.mark.parametrize(("row", "format", "line"), NEAREST)
def test_the_nearest_format_and_the_line_that_makes_it_fit(tmp_path: Path, row: Row, format: str, line: str) -> None:
    error = refusal(tmp_path, row)
    assert f"no known format has the columns {', '.join(row)}" in error.found
    assert f"the nearest format is {format}: " in error.expected
    assert line in error.do
    assert f"--format {format}" in error.do
    renames = dict(word.split("=") for word in error.do.split() if "=" in word)
    found = read_file(tmp_path / "rows.jsonl", format, rename=renames)  # the advice is right
    assert len(found.preferences) == (format != "demonstrations")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"prompt": "a", "chosen": "b"})
    assert "chosen tells of a judgment" in error.found
    assert error.expected.endswith("rejected is missing")
    assert error.do.endswith("--format prompts")
    assert "winner is missing" in refusal(tmp_path, {"prompt": "a", "answer1": "b", "answer2": "c"}).expected
    for number in (1, 2):  # the first of two, or the one whose index is 1?
        error = refusal(tmp_path, {"prompt": "a", "response_1": "b", "response_2": "c", "preference": number})
        assert "winner is missing" in error.expected
        assert "--column" not in error.do
    assert "ranks is missing" in refusal(tmp_path, {"prompt": "a", "completions": ["b", "c"]}).expected


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "score": 3},
        {"prompt": "a", "label": 1},
        {"prompt": "a", "completion": "b", "preference": "first"},
        {"prompt": "a", "completion": "b", "rank": 1},
        {"prompt": "a", "completion": "b", "annotations": [{"x": 1}]},
        {"prompt": "a", "completions": ["b", "c"], "chosen": 0},
        {"text": "a", "label": 1},
        {"text": "a", "label": "positive"},
        {"question": {"full_text": "a"}, "answer_0": "b", "answer_1": "c", "score_0": 0.5, "score_1": -0.5},
        {"prompt": "a", "completion": "b", "helpfulness": [4, 3]},
        {"prompt": "a", "completion": "b", "gpt4_score": "8/10"},
        {"prompt": "a", "completion": "b", "feedback": "thumbs_down"},
        {"prompt": "a", "completion": "b", "reaction": "👍"},
        {"prompt": "a", "completion": "b", "status": "rejected"},
        {"prompt": "a", "completion": "b", "approved": "yes"},
        {"prompt": "a", "completion": "b", "grade": "B+"},
        {"prompt": "a", "completion": "b", "evaluation": {"tone": 4}},
        {"prompt": "a", "response_w": "b", "response_l": "c"},
        {"prompt": "a", "completion": "b", "Helpfulness": 0},
        {"prompt": "a", "completion": "b", "Instruction Following": 3},
        {"prompt": "a", "completion": "b", "score": "low"},
        {"prompt": "a", "completion": "b", "score": "-"},
        {"prompt": "a", "completion": "b", "rating": "good"},
        {"prompt": "a", "completion": "b", "llm_quality_2": "good"},
        {"prompt": "a", "completion": "b", "rating": "★★★"},
        {"messages": [USER, HERE], "rating": "PG-13"},
        {"prompt": "a", "completion": "b", "toxic": 1},
        {"prompt": "a", "completion": "b", "is_toxic": True},
        {"prompt": "a", "completion": "b", "won": 0.0},
        {"prompt": "a", "completion": "b", "emoji": "👎"},
        {"prompt": "a", "completion": "b", "emoji": "👍🏽"},
        {"prompt": "a", "completion": "b", "mark": "❌"},
        {"instruction": "judge", "output": "so: 4", "orig_response": "b", "orig_score": "4"},
        {"prompt": "a", "completion": "b", "judge_output": "It is poor."},
        {"prompt": "a", "completion": "b", "human_eval": "disagree"},
        {"prompt": "a", "completion": "b", "sentiment": "negative"},
        {"prompt": "a", "completion": "b", "agree": "no"},
        {"prompt": "a", "completion": "b", "is_hallucination": True},
        {"question": "a", "answer": "b", "is_correct": True},
        {"question": "a", "answer": "b", "incorrect": True},
        {"question": "a", "answer": "b", "review": "rejected"},
        {"question": "a", "answer": "b", "emoji": "👎"},
        {"question": "a", "answer": "b", "judge_output": "It is poor."},
        {"problem": "a", "solution": "b", "solution_is_valid": "No"},
    ],
)
def test_judgments_are_never_prompts_demonstrations_or_texts(tmp_path: Path, row: Row) -> None:
    error = refusal(tmp_path, row)
    assert "no known format has the columns" in error.found
    assert len(f"{error.found}\n{error.expected}\n{error.do}") < 1000


@pytest.mark.parametrize("name", ["score", "incorrect", "toxic", "unsafe"])
def test_a_judgment_that_is_no_label_is_to_be_written_as_one(tmp_path: Path, name: str) -> None:
    error = refusal(tmp_path, {"prompt": "a", "completion": "b", name: "low" if name == "score" else True})
    assert error.do == (
        f"write what {name} says as a column label (true: good) or score (a number); where there is nothing to learn "
        "from it: --format demonstrations"
    )


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"prompt": "a", "label": "safe"}, "prompts"),
        ({"prompt": "a", "toxicity": 0.5}, "prompts"),
        ({"prompt": "a", "difficulty": 3}, "prompts"),
        ({"question": "a", "choices": ["b", "c"], "answer": 1}, "prompts"),
        (
            {"prompt": "a", "completion": "b", "source": "human", "id": "1", "topic": "win", "category": "best"},
            "demonstrations",
        ),
        ({"prompt": "a", "completion": "b", "language": "en", "url": "http://a", "license": "MIT"}, "demonstrations"),
        ({"prompt": "a", "completion": "b", "difficulty": "hard", "level": 3, "verified": True}, "demonstrations"),
        ({"prompt": "a", "completion": "b", "score": "N/A", "rating": ""}, "demonstrations"),
        ({"prompt": "a", "completion": "b", "score_reason": "kind"}, "demonstrations"),
        ({"prompt": "👍", "completion": "✅", "icon": "🐈"}, "demonstrations"),
        ({"prompt": "a", "rating": "PG-13"}, "prompts"),
        ({"conversation": [USER, HERE], "toxic": False, "redacted": False, "turn": 1}, "demonstrations"),
        ({"instruction": "a", "response": "b", "input_quality": "good"}, "demonstrations"),
        ({"instruction": "a", "response": "b", "input_quality": "poor"}, "demonstrations"),
        ({"prompt": "a", "previous_response": "b"}, "prompts"),
        ({"prompt": "a", "completion": "b", "length": 3}, "demonstrations"),
        ({"instruction": "a", "input": "", "output": "b", "text": "Below …"}, "demonstrations"),
        ({"instruction": "a", "generation": "b"}, "demonstrations"),
        ({"prompt": "a", "completion": "b", "feedback": "It was quick."}, "demonstrations"),
        ({"prompt": "a", "completion": "b", "status": "accepted"}, "demonstrations"),
        ({"prompt": "a", "completion": "b", "reward_model": "m"}, "demonstrations"),
        ({"problem": "a", "inputs": ["1"], "outputs": ["2"]}, "prompts"),
        ({"prompt": "a", "expected_output": "b", "output_format": "json"}, "prompts"),
        ({"text": "a", "url": "b"}, "text"),
        ({"prompt": "a", "completion": "b", "judge_model": "m", "judge_id": 3, "eval_tokens": 9}, "demonstrations"),
        ({"prompt": "a", "completion": "b", "num_points": 3, "key_points": ["x"], "value": "red"}, "demonstrations"),
        ({"prompt": "a", "completion": "b", "language_confidence": 0.9, "created_at": 1700000000}, "demonstrations"),
        ({"prompt": "a", "completion": "b", "sentiment": "positive", "human_eval": "agree"}, "demonstrations"),
        ({"problem": "a", "answer": "b", "problem_is_valid": "Yes", "solution_is_valid": "Yes"}, "prompts"),
        ({"problem": "a", "answer": "b", "points": 6, "pass_rate": 1.0, "solve_rate": 0, "level": 5}, "prompts"),
        ({"question": "a", "choices": ["b", "c"], "answer": "c", "correct": 1}, "prompts"),
        ({"question": "a", "answer": "1", "correct_answer": "1", "correct_option": 0}, "prompts"),
        ({"prompt": "a", "answer": "b", "sentiment": "negative", "complexity": 3, "verified": False}, "prompts"),
    ],
)
def test_columns_that_only_sound_like_a_judgment(tmp_path: Path, row: Row, format: str) -> None:
    assert read_file(written(tmp_path, [row])).format == format


@pytest.mark.parametrize(
    ("score", "point"), [("90%", ""), ("4/5", ""), ("4,5", "with a point before decimals"), ("B+", "")]
)
def test_a_score_in_words_is_refused_by_its_line(tmp_path: Path, score: str, point: str) -> None:
    rows = [{"prompt": "a", "completion": "b", "score": 3}, {"prompt": "a", "completion": "c", "score": score}]
    for asked in (rows, rows[1:]):
        error = refusal(tmp_path, *asked)
        assert f"line {len(asked)}: the score '{score}'" in error.found
        assert point in error.expected


def test_one_condemned_completion_stops_a_guess(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": str(n), "completion": "b", "review": "fine"} for n in range(30)]
    assert len(read_file(written(tmp_path, rows)).demonstrations) == 30
    rows[25]["review"] = "bad"
    assert "line 26: review tells of a judgment" in refusal(tmp_path, *rows).found


def test_a_toxic_completion_among_others_is_named_by_line_and_can_be_left_out(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": str(n), "completion": "b", "toxic": n == 3} for n in range(30)]
    assert "line 4: toxic tells of a judgment" in refusal(tmp_path, *rows).found
    assert len(read_file(tmp_path / "rows.jsonl", skip_bad=True).demonstrations) == 29


def test_two_kinds_of_judgment_in_a_row(tmp_path: Path) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "completion": "d", "label": True}
    error = refusal(tmp_path, row)
    assert "fit trl-explicit and trl-unpaired" in error.found
    assert error.do == "name it: --format trl-explicit, or --format trl-unpaired"
    found = read_file(tmp_path / "rows.jsonl", "trl-explicit")
    assert groups(found) == [{"prompt": "a", "ranks": {"b": 1, "c": 2}, "pairs": {("b", "c"): 1.0}}]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "completions": ["b", "c"], "labels": [True, False]}, "step-wise rewards are not read"),
        ({"prompt": "a", "completion": "b", "images": ["x.png"]}, "models here read no images"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "image": {"path": "x.png"}}, "models here read no images"),
        ({"transcript": "x", "rating": 3.0, "task_description": "y"}, "judgments of completions"),
    ],
)
def test_known_layouts_that_are_not_read_are_refused_by_name(tmp_path: Path, row: Row, said: str) -> None:
    assert said in refusal(tmp_path, row).expected


@pytest.mark.parametrize(
    "table",
    [
        {"prompt": ["a", "b"], "chosen": ["c", "d"], "rejected": ["e", "f"]},
        {"prompt": ["a"], "completion": ["c"]},
        {"question": ["a", "b"], "answer": ["c", "d"]},
        {"text": ["a", "b"], "id": [1, 2]},
        {"prompt": {"0": "a", "1": "b"}, "completion": {"0": "c", "1": "d"}},
    ],
)
def test_a_table_by_columns_is_refused_by_its_layout(tmp_path: Path, table: Row) -> None:
    error = refusal(tmp_path, table)
    assert f"a table by columns: {', '.join(table)} each hold" in error.found
    assert error.expected == "one object per row"
    assert "write one object per line" in error.do


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": None, "completion": "x"}, "prompt"),
        ({"question": None, "answer": "x"}, "question"),
        ({"text": None}, "text"),
    ],
)
def test_a_null_where_a_text_must_be_is_named_by_line(tmp_path: Path, row: Row, name: str) -> None:
    error = refusal(tmp_path, row)
    assert error.found == f"{tmp_path / 'rows.jsonl'}, line 1: the column '{name}' holds null"
    assert error.expected == f"something in '{name}'"


def test_an_empty_column_of_images_is_none_and_a_later_one_is_named_by_line(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": str(n), "completion": "b", "images": []} for n in range(30)]
    found = read_file(written(tmp_path, rows))
    assert len(found.demonstrations) == 30
    assert found.columns.to_json()["empty"] == ["images"]
    rows[25]["images"] = ["x.png"]
    with pytest.raises(PreflabError, match="line 26: the column 'images' holds something"):
        read_file(written(tmp_path, rows))


def test_a_few_rows_of_another_layout_can_be_left_out(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": str(n), "completion": "b"} for n in range(4)]
    rows.insert(1, {"prompt": "x", "completion": "b", "images": ["x.png"]})
    file = written(tmp_path, rows)
    with pytest.raises(PreflabError, match="line 2: the column 'images' holds something"):
        read_file(file)
    assert len(read_file(file, skip_bad=True).demonstrations) == 4


def test_a_later_row_that_tells_of_a_judgment_stops_a_guess(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": str(n), "completion": "b", "score": None} for n in range(25)]
    rows.append({"prompt": "z", "completion": "c", "score": 2})
    file = written(tmp_path, rows)
    with pytest.raises(PreflabError, match="line 26: score tells of a judgment"):
        read_file(file)
    assert len(read_file(file, "demonstrations").demonstrations) == 26, "who names the format is obeyed"


def test_rows_without_their_score_count_as_those_beside_them(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": "a", "completion": word, "score": None} for word in "xyz"]
    found = read_file(written(tmp_path, [*rows, {"prompt": "a", "completion": "b", "score": "2"}]))
    assert found.format == "ratings"
    assert groups(found) == [{"prompt": "a", "ranks": {"b": 1}, "scores": {"score": {"b": 2.0}}}]
    assert found.left_out == {"completions without a score": 3}
    given: dict[str, Any] = {"x": 1, "y": None, "z": ""}
    labels: list[Row] = [{"prompt": "a", "completion": word, "label": label} for word, label in given.items()]
    found = read_file(written(tmp_path, labels))
    assert groups(found) == [{"prompt": "a", "ranks": {"x": 1}, "thumbs": {"x": 1.0}}]
    assert found.left_out == {"completions without a label": 2}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "completion": None}, "the column 'completion' holds null"),
        ({"prompt": "a", "completion": ""}, "an empty completion"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "turn 2 of 'messages' has null"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "turn 2 of 'messages' has no content"),
        ({"messages": [{"role": "narrator", "content": "x"}, HERE]}, "the role 'narrator' in turn 1"),
        ({"prompt": "Who?", "messages": [USER, HERE]}, "the text of the column 'prompt' is not in the conversation"),
        (
            {"prompt": "Who?", "chosen": [USER, HERE], "rejected": [USER, GONE]},
            "the column 'prompt' is not in the dialogues",
        ),
        (
            {"chosen": [USER, HERE], "rejected": [USER, HERE, USER, GONE]},
            "one conversation continues where the other ends",
        ),
        (
            {"chosen": [USER, HERE, USER, HERE], "rejected": [USER, HERE, {**USER, "content": "Who?"}, HERE]},
            "the conversations differ before the assistant's turn",
        ),
        ({"prompt": "a", "chosen": [HERE], "rejected": [USER, GONE]}, "rejected is a whole dialogue"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "the column 'rejected' holds null"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": "high"}, "the score_chosen 'high'"),
        ({"prompt": "a", "completion": "b", "label": "good"}, "the label is 'good', text"),
        ({"prompt": "a", "completion": "b", "label": 4}, "the label is 4, a number"),
        ({"prompt": "a", "completion": "b", "score": "high", "rating": 1}, "the score 'high'"),
        ({"prompt": "a", "response_a": "b", "response_b": "c", "winner": 1}, "the winner 1"),
        ({"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 2}, "holds 2"),
        ({"context": [USER], "response1": "b", "response2": "c", "overall_preference": 4}, "the overall_preference 4"),
        ({"system": 3, "prompt": "a", "completion": "b"}, "the column 'system' holds a number"),
        ({"prompt": "a", "completion": "b", "tools": "hammer"}, "the column 'tools' holds text that is no JSON"),
        ({"instruction": "a", "question": "b", "output": "c"}, "instruction and question could both be the prompt"),
        ({"prompt": [USER, HERE]}, "ends with the assistant's turn"),
        ({"prompt": [USER], "continue_final_message": True}, "continue_final_message is true"),
        ({"messages": [USER, {**HERE, "weight": 0}]}, "every turn of the assistant's has weight 0"),
    ],
)
def test_bad_rows_are_named_by_line(tmp_path: Path, row: Row, said: str) -> None:
    error = refusal(tmp_path, row)
    assert ", line 1: " in error.found
    assert said in error.found


def test_a_conversation_that_ends_with_the_user_is_no_demonstration(tmp_path: Path) -> None:
    rows = [{"messages": [USER, HERE]}, {"messages": [USER, HERE, USER]}, {"messages": [USER, GONE]}]
    error = refusal(tmp_path, *rows)
    assert "line 2: a conversation in 'messages' that does not end with the assistant's turn" in error.found
    assert "cut the turns after it" in error.expected
    assert read_file(written(tmp_path, rows[1:2])).format == "prompts"


def test_renames_that_do_nothing_or_too_much_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, [{"prompt": "a", "question": "b", "completion": "c"}])
    with pytest.raises(PreflabError, match="no column 'ask' to rename to 'prompt'"):
        read_file(file, "prompts", rename={"ask": "prompt"})
    with pytest.raises(PreflabError, match="a column 'question' to rename to 'prompt', and a column 'prompt'"):
        read_file(file, rename={"question": "prompt"})
    swapped = read_file(file, rename={"question": "prompt", "prompt": "asked"})
    assert demonstrations(swapped) == [("b", "c")]


@pytest.mark.parametrize(
    ("advice", "said"),
    [
        ("correct them, or leave bad rows out with --skip-bad; nothing was loaded",
         "correct them, or leave bad rows out with `skip_bad: true` in data.pairs"),
        ("a column 'prompt' (near it: promt; --column promt=prompt renames it)",
         "a column 'prompt' (near it: promt; `columns: {promt: prompt}` in data.pairs renames it)"),
        ("if that is what it is: --column a=b --column c=d --format x",
         "if that is what it is: `columns: {a: b, c: d}` in data.pairs `format: x` in data.pairs"),
        ("name it: --split train", "name it: `split: train` in data.pairs"),
    ],
)  # fmt: skip
def test_a_recipe_hears_of_its_own_settings(advice: str, said: str) -> None:
    assert in_a_recipe(advice, "pairs") == said
