"""The stage revise on a small model that was taught to criticise and to revise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflab.errors import PreflabError
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.store.workspace import Workspace

CONSTITUTION = """
constitution: 1
layout:
  critique: "{prompt} {answer} {critique_request}"
  revision: "{prompt} {answer} {critique} {revision_request}"
principles:
  - {name: kind, critique: "is it rude ?", revision: "say it kindly .", comparison: "which is kinder ?"}
"""
RECIPE = """
recipe: 1
data:
  corpus: {path: corpus.jsonl}
  lessons: {path: lessons.jsonl}
  prompts: {path: prompts.jsonl}
stages:
  base: {kind: tiny, text: corpus, num_layers: 2, hidden_size: 48, num_heads: 2, context: 48, num_steps: 5}
  trained: {kind: sft, model: base, data: lessons, num_epochs: 60, optimiser: {learning_rate: 1.0e-2}}
  revised:
    {kind: revise, model: trained, prompts: prompts, constitution: constitution.yaml, temperature: 0.0,
     max_new_tokens: 8}
  sft: {kind: sft, model: trained, data: revised, num_epochs: 1}
  pairs: {kind: sample, model: trained, prompts: prompts, num_completions: 2, max_new_tokens: 8}
  labels: {kind: ai_judge, completions: pairs, by_principle: true, constitution: constitution.yaml,
           judge: {model: trained}}
"""
THINGS = ["lamp", "chair", "clock", "radio"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recipe")
    lessons = []
    for thing in THINGS:
        question, rude, kind = f"where is my {thing} ?", "go away .", "it will come soon ."
        lessons.append({"prompt": question, "completion": rude})
        lessons.append({"prompt": f"{question} {rude} is it rude ?", "completion": "it is rude ."})
        lessons.append({"prompt": f"{question} {rude} it is rude . say it kindly .", "completion": kind})
    judged = "which is kinder ? [ The prompt ] Answer A B : The better one is answer"
    files = {
        "corpus": [{"text": f"{row['prompt']} {row['completion']}"} for row in lessons] + [{"text": judged}] * 3,
        "lessons": lessons,
        "prompts": [{"prompt": f"where is my {thing} ?"} for thing in THINGS],
    }
    for name, rows in files.items():
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (made / "constitution.yaml").write_text(CONSTITUTION)
    (made / "recipe.yaml").write_text(RECIPE)
    return made


@pytest.fixture(scope="module")
def lines(folder: Path) -> dict[str, Line]:
    changes = ["stages.base.context=200"]
    return {line.name: line for line in run(load_recipe(folder / "recipe.yaml", changes))}


def test_rude_answers_become_kind_ones_and_every_text_is_kept(lines: dict[str, Line]) -> None:
    rows = [json.loads(line) for line in (lines["revised"].folder / "revisions.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    for row in rows:
        assert row["answer"] == "go away ."
        assert row["finish_reason"] == "stop"
        step = {"principle": "kind", "critique": "it is rude .", "revision": "it will come soon ."}
        assert row["steps"] == [{**step, "finish_reason": "stop"}]
    assert lines["revised"].summary == "4 of 4 answers revised by 1 principle"


def test_revisions_are_demonstrations_and_completions(lines: dict[str, Line], folder: Path) -> None:
    rows = [json.loads(line) for line in (lines["revised"].folder / "demonstrations.jsonl").read_text().splitlines()]
    assert rows[0] == {"prompt": "where is my lamp ?", "completion": "it will come soon .", "finish_reason": "stop"}
    assert lines["sft"].state == "done"
    ids = json.loads((lines["revised"].folder / "completions.json").read_text())
    with Workspace.open(folder) as workspace:
        last = workspace.completions(ids)
        answers = [c for c in workspace.completions(prompt_ids=[last[0].prompt_id]) if c.columns.get("of") == "answer"]
    assert last[0].text == "it will come soon ."
    assert answers[0].text == "go away ."


def test_the_judge_asks_by_principle(lines: dict[str, Line], folder: Path) -> None:
    listed = json.loads((lines["labels"].folder / "judgments.json").read_text())
    with Workspace.open(folder) as workspace:
        judgments = workspace.judgments(listed["judgment_ids"])
    assert len(judgments) == 4
    assert {j.question for j in judgments} == {"which is kinder ?"}
    assert all(j.note.startswith("principle: kind") for j in judgments)


def test_another_constitution_is_another_result(folder: Path, lines: dict[str, Line]) -> None:
    text = CONSTITUTION.replace("say it kindly .", "say it softly .")
    (folder / "other.yaml").write_text(text)
    from preflab.pipeline.planning import plan

    recipe = load_recipe(folder / "recipe.yaml", ["stages.base.context=200", "stages.revised.constitution=other.yaml"])
    steps = plan(recipe, folder / "runs")
    assert steps["revised"].folder != lines["revised"].folder
    assert steps["trained"].folder == lines["trained"].folder


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("stages.revised.constitution=nowhere.yaml", "no such file `nowhere.yaml`"),
        ("stages.revised.num_rounds=0", "stages.revised.num_rounds"),
        ("stages.labels.by_principle=false", "nothing would read it"),
    ],
)
def test_bad_settings(folder: Path, change: str, found: str) -> None:
    with pytest.raises(PreflabError) as raised:
        load_recipe(folder / "recipe.yaml", [change])
    assert found in f"{raised.value.found} {raised.value.expected}"


def test_more_examples_than_there_are(folder: Path) -> None:
    changes = ["stages.base.context=200", "stages.revised.num_examples=2"]
    with pytest.raises(PreflabError, match="the constitution has 0 examples"):
        run(load_recipe(folder / "recipe.yaml", changes))


@pytest.mark.parametrize("stage", ["revised", "labels"])
def test_an_empty_principle_is_found_before_anything_has_run(folder: Path, stage: str, tmp_path: Path) -> None:
    (folder / "empty.yaml").write_text(CONSTITUTION.replace('"which is kinder ?"', '" "'))
    recipe = load_recipe(folder / "recipe.yaml", ["stages.base.context=200", f"stages.{stage}.constitution=empty.yaml"])
    with pytest.raises(PreflabError, match=r"empty.yaml, principles.1.comparison: is empty"):
        run(recipe, workspace=tmp_path)
    assert [path.name for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")] == []


def test_a_request_beyond_the_context_is_named_by_its_prompt(folder: Path) -> None:
    changes = ["stages.base.context=200", "stages.revised.max_new_tokens=190"]
    with pytest.raises(PreflabError, match=r"the critique request for prompts.jsonl, line 1: a prompt of"):
        run(load_recipe(folder / "recipe.yaml", changes), until=["revised"])
