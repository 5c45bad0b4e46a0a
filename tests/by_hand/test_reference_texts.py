"""Reference texts of prompts: which are read, which rows are refused, and ROUGE against them by hand."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.records import Prompt
from preflab.stages.common.reference_texts import (
    human_completions,
    human_rouge,
    read_reference_texts,
    reference_notes,
    repeated_prompts_note,
    rouge_columns,
)


def prompts(*columns: dict[str, Any]) -> list[Prompt]:
    return [Prompt.make(f"p{i}", columns=each, source=f"talks.jsonl, line {i + 1}") for i, each in enumerate(columns)]


def test_texts_come_from_columns_and_lists_in_order() -> None:
    rows = prompts({"first": " a b ", "others": ["c", "", "d"]}, {"first": None, "others": ["e"]})
    assert read_reference_texts(rows, ["first", "others"]) == [("a b", "c", "d"), ("e",)]


def test_prompts_without_a_text_are_named() -> None:
    rows = prompts({"summary": "a"}, {"summary": ""}, {}, {"summary": []}, {"summary": None}, {"summary": " "})
    with pytest.raises(PreflabError, match="5 of 6 prompts without a text in summary") as caught:
        read_reference_texts(rows, ["summary"])
    assert caught.value.found.endswith("talks.jsonl, line 2, talks.jsonl, line 3, talks.jsonl, line 4 and 2 more")


def test_an_unknown_column_is_refused_with_the_nearest() -> None:
    with pytest.raises(PreflabError, match="no column `sumary`") as caught:
        read_reference_texts(prompts({"summary": "a", "topic": "t"}), ["sumary"])
    assert "summary, topic; near it: summary" in caught.value.expected


def test_a_column_without_texts_is_refused() -> None:
    with pytest.raises(PreflabError, match="the column `summary` holds 7"):
        read_reference_texts(prompts({"summary": 7}), ["summary"])


def test_the_human_writes_the_first_text_of_each_prompt() -> None:
    rows = prompts({"summary": ["a b", "c"]}, {"summary": "d"})
    first, second = human_completions(rows, [("a b", "c"), ("d",)])
    assert (first.text, first.model, first.prompt_id, first.finish_reason) == ("a b", "human", rows[0].id, "imported")
    assert second.text == "d"


def test_rouge_columns_by_hand() -> None:
    # "a b" against "a b c d": precision 1, recall 1/2, F1 2/3; pairs: 1 of 1 and 1 of 3, F1 = 2·(1/3)/(4/3) = 1/2.
    columns = rouge_columns(["a b", "x"], [("a b c d",), ("y",)])
    assert columns["rouge/1"].tolist() == pytest.approx([2 / 3, 0])
    assert columns["rouge/1/precision"].tolist() == [1, 0]
    assert columns["rouge/1/recall"].tolist() == [0.5, 0]
    assert columns["rouge/2"].tolist() == pytest.approx([0.5, 0])
    assert columns["rouge/l"].tolist() == pytest.approx([2 / 3, 0])


def test_the_human_is_measured_against_the_other_texts() -> None:
    assert human_rouge([("a b", "a b c d"), ("x",)]) == {}
    assert human_rouge([("a b", "a b c d")])["rouge/1"].tolist() == pytest.approx([2 / 3])


def test_rows_of_one_prompt_are_counted() -> None:
    once = prompts({"summary": "a"}, {"summary": "b"})
    assert repeated_prompts_note(once) == []
    twice = [*once, Prompt.make("p0", columns={"summary": "c"}), Prompt.make("p1", columns={"summary": "d"})]
    (note,) = repeated_prompts_note(twice)
    assert note.startswith("2 prompts have the text of an earlier one")


def test_notes_say_how_many_texts_there_are() -> None:
    assert reference_notes([("a",), ("b", "c")], 1) == [
        "ROUGE is F1 without stemming against 1 to 2 reference texts per prompt, of several the best"
    ]
    (stemmed,) = reference_notes([("a",)], 1, stems=True)
    assert stemmed.startswith("ROUGE is F1 of Porter stems against 1 reference text per prompt")
    ours, humans, once = reference_notes([("a", "b")], 4)
    assert "2 reference texts per prompt" in ours
    assert "one fewer than the models" in humans
    assert "no distinct-n beside 4 completions" in once
