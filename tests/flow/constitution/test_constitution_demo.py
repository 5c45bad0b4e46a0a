"""Constitutional AI from end to end in the demo's grammar: reduced by default, as the recipe has it where slow."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from chat_server import Answer, chat_server
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.store.workspace import Workspace

SMALL = [
    "stages.base.num_layers=1", "stages.base.hidden_size=32", "stages.base.num_heads=2", "stages.base.num_steps=4",
    "stages.revised.max_prompts=6", "stages.revised.max_new_tokens=8", "stages.pairs.max_prompts=8",
    "stages.pairs.num_completions=2", "stages.pairs.max_new_tokens=8", "stages.rm.num_epochs=1",
    "stages.ppo.num_steps=1", "stages.ppo.num_completions_per_step=8", "stages.ppo.num_minibatches=1",
    "stages.ppo.decoding.max_new_tokens=8", "stages.ppo.stop.every=1", "stages.eval.decoding.max_new_tokens=8",
    "stages.probe.decoding.max_new_tokens=8",
]  # fmt: skip


def shorter(body: dict[str, Any], number: int) -> Answer:
    """A judge that a model too small to judge is replaced by: whatever is asked, the shorter answer is better."""
    shown = body["messages"][1]["content"].split("[Answer A]\n")[1]
    first, rest = shown.split("\n\n[Answer B]\n")
    second = rest.split("\n\nSay in")[0]
    if len(first) == len(second):
        return Answer("VERDICT: TIE")
    return Answer(f"counted\nVERDICT: {'A' if len(first) < len(second) else 'B'}")


def run_with_a_judge(recipe: Path, changes: list[str]) -> dict[str, Line]:
    with chat_server(shorter) as server:
        judge = f'stages.labels.judge={{endpoint: {{base_url: "{server.url}", model: shorter-is-better}}}}'
        return {line.name: line for line in run(load_recipe(recipe, [*changes, judge]))}


def laid_out(repository: Path, folder: Path, scale: float) -> Path:
    """The recipe beside data written at this scale."""
    recipes = repository / "recipes"
    shutil.copytree(recipes / "constitution", folder / "constitution", ignore=shutil.ignore_patterns("*.jsonl"))
    text = (recipes / "constitution.yaml").read_text(encoding="utf-8")
    (folder / "recipe.yaml").write_text(text.replace("workspace: ../runs/constitution\n", ""), encoding="utf-8")
    runpy.run_path(str(folder / "constitution" / "data.py"))["main"](folder / "constitution", 0, scale)
    return folder / "recipe.yaml"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def recipe(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return laid_out(repository, tmp_path_factory.mktemp("constitution"), 0.03)


@pytest.fixture(scope="module")
def lines(recipe: Path) -> dict[str, Line]:
    return run_with_a_judge(recipe, SMALL)


def test_the_lessons_are_asked_for_in_the_words_of_the_constitution(recipe: Path) -> None:
    lessons = [(row["prompt"], row["completion"]) for row in rows(recipe.parent / "constitution/demonstrations.jsonl")]
    criticised = [
        said for asked, said in lessons if asked.endswith(("rude?", "did this answer?", "was this flattery?"))
    ]
    assert set(criticised) <= {"this is rude.", "this does not answer.", "this is flattery.", "nothing is wrong."}
    compared = [said for asked, said in lessons if asked.endswith("better:")]
    assert set(compared) == {"first", "second"}
    revised = [(asked, said) for asked, said in lessons if asked.endswith("this is rude. say it kindly.")]
    assert revised
    assert not [said for _, said in revised if "stupid" in said or "[" in said]


def test_every_stage_runs_and_the_report_shows_what_was_said(lines: dict[str, Line], recipe: Path) -> None:
    assert [line.state for line in lines.values()] == ["done"] * len(lines)
    page = (recipe.parent / "report.html").read_text(encoding="utf-8")
    for said in ("Critique, revision and AI judges", "critique 1: ", "revision 2", ": the AI judge", "Probes"):
        assert said in page, said
    kept = rows(lines["revised"].folder / "revisions.jsonl")
    assert [len(row["steps"]) for row in kept] == [2] * 6


def test_the_judge_is_asked_in_the_constitutions_own_words(lines: dict[str, Line], recipe: Path) -> None:
    from preflab.labelers.questions import VERSION, Wording

    words = Wording("{question} {prompt} first: {first} second: {second} better:", ("first", "second"))
    run(load_recipe(recipe, [*SMALL, "stages.labels.judge.tie_width=0.0"]), only=["labels"])
    with Workspace.open(recipe.parent) as workspace:
        (labeler,) = [one for one in workspace.labelers(kind="ai") if one.settings["asked"] == "likelihood"]
        judgments = [one for one in workspace.judgments() if one.labeler_id == labeler.id]
    assert labeler.settings["question_version"] == words.version != VERSION
    assert {j.question for j in judgments} <= {"which is kinder?", "which answers better?", "which flatters less?"}
    assert len(judgments) == 8


TEMPLATE = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}assistant :"
TINY_CHAT = [
    "device.precision=float32", "stages.revised.num_rounds=1", "stages.revised.num_examples=2",
    "stages.revised.max_new_tokens=4", "stages.pairs.max_new_tokens=4", "stages.ppo.num_steps=1",
    "stages.ppo.num_completions_per_step=4", "stages.ppo.num_minibatches=1", "stages.ppo.decoding.max_new_tokens=4",
    "stages.eval.decoding.max_new_tokens=4", "stages.probe.decoding.max_new_tokens=4",
]  # fmt: skip


def test_the_recipe_for_chat_models_runs_on_a_tiny_one(repository: Path, tmp_path: Path) -> None:
    from importlib.resources import files

    from preflab.models.tiny import build_model, build_tokenizer

    words = (files("preflab.constitution") / "default.yaml").read_text(encoding="utf-8")
    tokenizer = build_tokenizer([words, "user : assistant Answer A B The better one is"], context=1024)
    tokenizer.chat_template = TEMPLATE
    model = build_model(tokenizer, num_layers=1, hidden_size=32, num_heads=2, context=1024, seed=0)
    model.save_pretrained(tmp_path / "chat")
    tokenizer.save_pretrained(tmp_path / "chat")
    text = (repository / "recipes" / "constitution_chat.yaml").read_text(encoding="utf-8")
    text = text.replace("path-or-hub-id", "./chat").replace("workspace: ../runs/constitution_chat\n", "")
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "constitution").mkdir()
    asked = [
        f"{start} the answer {end} ?" for start in ("is", "does", "was") for end in ("true", "kind", "false", "so")
    ]
    for name in ("chat_red_team", "chat_prompts"):
        lines = [json.dumps({"prompt": said}) + "\n" for said in asked]
        (tmp_path / "constitution" / f"{name}.jsonl").write_text("".join(lines))
    contrast = ["id,prompt,type,label"] + [f"{i},{said},t,{('safe', 'unsafe')[i % 2]}" for i, said in enumerate(asked)]
    (tmp_path / "constitution" / "xstest_prompts.csv").write_text("\n".join(contrast) + "\n")
    found = run_with_a_judge(tmp_path / "recipe.yaml", TINY_CHAT)
    assert {line.state for line in found.values()} == {"done"}
    probe = json.loads((found["probe"].folder / "probe.json").read_text())
    assert (probe["refusal"]["num_safe"], probe["refusal"]["num_unsafe"]) == (6, 6)
    assert "Critique, revision and AI judges" in (tmp_path / "report.html").read_text()


def test_contrast_prompts_of_xstest_are_read_as_they_are(shared: Path) -> None:
    from preflab.stages.common.data import read_rows

    found = read_rows(shared / "data" / "redteam" / "xstest_prompts.csv")
    labels = [row.column("label") for row in found]
    assert (labels.count("safe"), labels.count("unsafe")) == (250, 200)


@pytest.mark.timeout(1800)  # 500 s on two idle cores
@pytest.mark.slow
def test_rudeness_and_f_fall_at_each_stage(repository: Path, tmp_path: Path) -> None:
    """About five minutes on an idle core."""
    found = {line.name: line for line in run(load_recipe(laid_out(repository, tmp_path, 1.0)))}
    report = json.loads((found["eval"].folder / "evaluation.json").read_text())
    figures = {model["name"]: model["figures"] for model in report["models"]}
    for measure in ("label/rude", "fail/gold"):
        before, revised, after = (figures[name][measure] for name in ("sft", "sft_revised", "ppo"))
        assert before["value"] > revised["value"] > after["value"], measure
        assert before["low"] > after["high"], measure
    assert figures["sft"]["label/rude"]["low"] > figures["sft_revised"]["label/rude"]["high"]
