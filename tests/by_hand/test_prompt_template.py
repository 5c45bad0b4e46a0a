"""Prompts made from columns by a template, in files of several kinds, and joined where they are equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.recipe import load_recipe
from preflab.stages.common.data import read_data, read_demonstrations, read_prompts
from preflab.store.formats import read_file

ROWS = [
    {"id": "a", "dialogue": "#Person1#: Hi {you}.\n#Person2#: Bye.", "summary": "They meet.", "topic": "hi"},
    {"id": "b", "dialogue": "#Person1#: No.", "summary": "He says no.", "topic": "no"},
]
TEMPLATE = "Summarize {{this}}.\n\n{dialogue}\n\nSummary:"
PROMPTS = [
    "Summarize {this}.\n\n#Person1#: Hi {you}.\n#Person2#: Bye.\n\nSummary:",
    "Summarize {this}.\n\n#Person1#: No.\n\nSummary:",
]


def written(folder: Path, rows: list[dict[str, Any]], *, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_with(folder: Path, **settings: Any) -> Path:
    data = {"rows": {"path": "rows.jsonl", "template": TEMPLATE, **settings}}
    stages = {"sft": {"kind": "sft", "model": "owner/name", "data": "rows"}}
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({"recipe": 1, "data": data, "stages": stages}))
    return path


def test_template_makes_prompts_and_keeps_the_other_columns(tmp_path: Path) -> None:
    read = read_file(written(tmp_path, ROWS), "prompts", template=TEMPLATE)
    assert [prompt.text for prompt in read.prompts] == PROMPTS
    assert dict(read.prompts[1].columns) == {"id": "b", "summary": "He says no.", "topic": "no"}


def test_rows_of_a_table_get_the_same_prompts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id,dialogue,summary,topic\na,"#Person1#: Hi {you}.\n#Person2#: Bye.",They meet.,hi\n')
    assert read_file(path, "prompts", template=TEMPLATE).prompts[0].text == PROMPTS[0]


def test_template_and_columns_make_demonstrations_of_a_recipe(tmp_path: Path) -> None:
    written(tmp_path, ROWS)
    recipe = load_recipe(recipe_with(tmp_path, columns={"summary": "completion"}), [])
    pairs = read_demonstrations(recipe, "rows")
    assert [(prompt.text, completion.text) for prompt, completion in pairs] == [
        (PROMPTS[0], "They meet."),
        (PROMPTS[1], "He says no."),
    ]


def test_prompts_and_demonstrations_of_one_file_fall_into_the_same_split(tmp_path: Path) -> None:
    rows = [{"dialogue": f"#Person1#: {number}.", "summary": "A number."} for number in range(40)]
    written(tmp_path, rows)
    asked = load_recipe(recipe_with(tmp_path, held_out=0.5, columns={"summary": "reference"}), [])
    shown = load_recipe(recipe_with(tmp_path, held_out=0.5, columns={"summary": "completion"}), [])
    held_out = {prompt.text for prompt in read_prompts(asked, "rows.held_out")}
    assert held_out == {prompt.text for prompt, _ in read_demonstrations(shown, "rows.held_out")}
    assert held_out == {row["prompt"] for row in read_data(asked, "rows.held_out")}
    assert 0 < len(held_out) < 40


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"dialog": "Hi.", "summary": "x"}, "no column 'dialogue' for the template, among dialog, summary"),
        ({"dialogue": " ", "summary": "x"}, "the column 'dialogue' for the template is empty or no text"),
        ({"dialogue": ["Hi."], "summary": "x"}, "the column 'dialogue' for the template is empty or no text"),
        ({"dialogue": "Hi.", "prompt": "x"}, "a column 'prompt', beside a template that makes the prompt"),
    ],
)
def test_row_that_the_template_cannot_fill_is_refused_with_its_line(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, [ROWS[0], row])
    with pytest.raises(PreflabError) as error:
        read_file(path, "prompts", template=TEMPLATE)
    assert message in str(error.value)
    assert "line 2" in str(error.value)


@pytest.mark.parametrize("template", ["Summarize.", "{dialogue", "{}", "{dialogue!r}", "{dialogue.x}"])
def test_template_without_a_plain_column_is_refused_before_anything_runs(tmp_path: Path, template: str) -> None:
    written(tmp_path, ROWS)
    with pytest.raises(PreflabError, match="template"):
        load_recipe(recipe_with(tmp_path, template=template), [])


def test_rows_with_one_dialogue_become_one_prompt_with_all_its_references(tmp_path: Path) -> None:
    rows = [
        {"id": "a_1", "dialogue": "#Person1#: Hi.", "summary": "They meet."},
        {"id": "b_1", "dialogue": "#Person1#: No.", "summary": "He says no."},
        {"id": "a_2", "dialogue": "#Person1#: Hi.", "summary": "A greeting."},
        {"id": "a_3", "dialogue": "#Person1#: Hi.", "summary": "They meet."},
    ]
    written(tmp_path, rows)
    recipe = load_recipe(recipe_with(tmp_path, columns={"summary": "reference"}, gather=["reference"]), [])
    assert [dict(prompt.columns) for prompt in read_prompts(recipe, "rows")] == [
        {"id": "a_1", "reference": ["They meet.", "A greeting."]},
        {"id": "b_1", "reference": ["He says no."]},
    ]


def test_column_to_gather_that_no_row_has_is_refused(tmp_path: Path) -> None:
    written(tmp_path, ROWS)
    recipe = load_recipe(recipe_with(tmp_path, gather=["references"]), [])
    with pytest.raises(PreflabError) as error:
        read_prompts(recipe, "rows")
    assert "`gather` names the column `references`, which no prompt has" in str(error.value)
    assert "one of id, summary, topic" in str(error.value)
