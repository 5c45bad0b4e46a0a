"""Forms in which labeling tools write their results, and what each says of which completion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layout_words import groups
from preflab.store.formats import read_file
from preflab.store.formats.imported import Imported

OF_ANNOTATION = {"id": 1, "annotator": 1, "annotation_id": 5, "created_at": "t", "updated_at": "t", "lead_time": 2.5}
TWO = {"prompt": "a", "answer1": "b", "answer2": "c"}
SECOND = {"prompt": "a", "ranks": {"b": 2, "c": 1}, "pairs": {("c", "b"): 1.0}}


def read(folder: Path, row: dict[str, Any]) -> Imported:
    file = folder / "rows.json"
    file.write_text(json.dumps([row]), encoding="utf-8")
    return read_file(file)


@pytest.mark.parametrize("value", [4, {"rating": 4}, [{"rating": 4}], '[{"rating": 4}]'])
def test_a_rating_of_label_studio_in_every_minimal_form(tmp_path: Path, value: Any) -> None:
    found = read(tmp_path, {"prompt": "a", "response": "b", "stars": value, **OF_ANNOTATION})
    assert groups(found) == [{"prompt": "a", "ranks": {"b": 1}, "scores": {"stars": {"b": 4.0}}}]
    assert [judgment.active_ms for judgment in found.judgments] == [2500]


@pytest.mark.parametrize("value", ["right", {"selected": "right"}, [{"selected": "right"}], "answer2"])
def test_a_comparison_of_label_studio_in_every_minimal_form(tmp_path: Path, value: Any) -> None:
    assert groups(read(tmp_path, {**TWO, "better": value, **OF_ANNOTATION})) == [SECOND]


def test_a_minimal_annotation_that_judges_nothing_is_counted(tmp_path: Path) -> None:
    found = read(tmp_path, {"prompt": "a", "answer": "My own words.", **OF_ANNOTATION})
    assert found.judgments == []
    assert found.left_out == {"results that judge no completion": 1}


def test_a_chat_field_of_argilla_is_the_prompt(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "a"}]
    responses = {"best": [{"value": ["answer2", "answer1"], "user_id": "u"}]}
    found = read(
        tmp_path, {"id": "1", "fields": {"talk": chat, "answer1": "b", "answer2": "c"}, "responses": responses}
    )
    assert groups(found) == [{**SECOND, "prompt": "user: a"}]
