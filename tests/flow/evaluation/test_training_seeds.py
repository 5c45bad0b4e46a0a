"""A recipe with two training seeds through grpo, evaluate and report; and the commands that name one seed."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from preflab import pipeline
from preflab.cli import app
from preflab.files import read_json
from preflab.models.tiny import build_model, build_tokenizer
from preflab.recipe import load_recipe

WORDS = ("where", "is", "my", "parcel", "late")
REWARD = """
def likes_late(prompt, completion):
    return float(completion.count("late"))

def variety(prompt, completion):
    return float(len(set(completion.split())))
"""
RECIPE = """
recipe: 1
seeds: [0, 4]
data: {prompts: {path: prompts.jsonl}}
stages:
  grpo:
    kind: grpo
    model: base
    prompts: prompts
    rewards: [{function: "seed_rewards:likes_late"}]
    num_steps: 2
    num_prompts_per_step: 2
    num_completions_per_prompt: 3
    decoding: {max_new_tokens: 6}
    optimiser: {learning_rate: 0.01}
    lora: null
  eval:
    kind: evaluate
    models: [base, grpo]
    prompts: prompts
    judges: {variety: "seed_rewards:variety"}
    decoding: {max_new_tokens: 6}
  report: {kind: report, of: [grpo, eval], num_samples: 3}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe was run."""
    folder = tmp_path_factory.mktemp("seeds")
    tokenizer = build_tokenizer([" ".join(WORDS)], context=32)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    prompts = [f"{first} {second}" for first in WORDS for second in WORDS if first != second]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    (folder / "seed_rewards.py").write_text(REWARD)
    (folder / "recipe.yaml").write_text(RECIPE)
    pipeline.run(load_recipe(folder / "recipe.yaml"))
    return folder


@pytest.fixture(scope="module")
def evaluation(project: Path) -> dict[str, Any]:
    (path,) = (project / "runs").glob("eval-*/evaluation.json")
    content: dict[str, Any] = read_json(path)
    return content


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    return unescape((project / "report.html").read_text(encoding="utf-8"))


def test_mean_over_seeds_is_that_of_the_seeds_differences(evaluation: dict[str, Any]) -> None:
    (entry,) = evaluation["seeds"]
    assert entry["seeds"] == ["grpo/seed-0", "grpo/seed-4"]
    each = [one["differences"] for one in evaluation["comparisons"]]
    assert [one["model"] for one in evaluation["comparisons"]] == entry["seeds"]
    for name, whole in entry["differences"].items():
        first, second = (one[name]["value"] for one in each)
        assert whole["value"] == pytest.approx((first + second) / 2)
        if whole["low"] is not None:  # two values: t · s / √2 = 12.706 · |a − b| / 2
            assert whole["high"] - whole["value"] == pytest.approx(12.706205 * abs(first - second) / 2, rel=1e-5)
        excluding = [one[name] for one in each if one[name]["low"] is not None and one[name]["low"] > 0]
        assert whole["num_higher"] == len(excluding)
    assert entry["differences"]["judge/variety"]["family"] == "primary"


def test_seeds_differ_and_the_baseline_is_measured_once(evaluation: dict[str, Any]) -> None:
    assert [model["name"] for model in evaluation["models"]] == ["base", "grpo/seed-0", "grpo/seed-4"]
    assert len({model["weights"] for model in evaluation["models"]}) == 3


def test_report_begins_with_the_verdict_over_seeds(page: str, evaluation: dict[str, Any]) -> None:
    first = page.partition("Did it work?")[2].partition("How sure are we?")[0]
    assert "over 2 training seeds" in first
    assert "for seed 0 and" in first
    assert "2 training seeds on 20 held-out prompts" in page
    assert "One training seed" not in page
    assert "mean, over prompts" in page
    assert "mean, over seeds" in page


def test_report_shows_all_curves_and_the_samples_of_one_seed(page: str, evaluation: dict[str, Any]) -> None:
    training = page.partition('id="training"')[2].partition('id="run"')[0]
    assert 'class="line policy seed"' in training
    assert "Thin lines are the training seeds of one stage." in training
    samples = page.partition('id="samples"')[2].partition("Rollouts of")[0]
    by_value = sorted(evaluation["comparisons"], key=lambda one: one["differences"]["judge/variety"]["value"])
    shown, other = (one["model"] for one in by_value)
    assert f"the median by the primary measure: {shown} for grpo" in samples
    assert other not in samples


def test_export_asks_which_seed_and_the_card_names_it(project: Path, tmp_path: Path) -> None:
    recipe = ["--recipe", str(project / "recipe.yaml")]
    refused = CliRunner().invoke(app, ["export", "model", "grpo", str(tmp_path / "out"), *recipe])
    assert "one of grpo/seed-0, grpo/seed-4" in str(refused.exception)
    unknown = CliRunner().invoke(app, ["export", "model", "grpo/seed-1", str(tmp_path / "out"), *recipe])
    assert "one of grpo/seed-0, grpo/seed-4" in str(unknown.exception)
    made = CliRunner().invoke(app, ["export", "model", "grpo/seed-4", str(tmp_path / "out"), *recipe])
    assert made.exit_code == 0, made.output
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "stage `grpo/seed-4` of a recipe, training seed 4." in card
    assert "`grpo` over 2 training seeds: variety (judge)" in card
    assert "Of 2 training seeds this is seed 4" in card
    assert "  grpo:\n    kind: grpo" in card


def test_a_stage_by_name_means_all_its_seeds(project: Path) -> None:
    shown = CliRunner().invoke(app, ["train", "grpo", "--recipe", str(project / "recipe.yaml")])
    assert shown.exit_code == 0, shown.output
    assert "grpo/seed-0" in shown.output
    assert "grpo/seed-4" in shown.output


def test_one_seed_is_judged_over_prompts_and_said_to_be_one(project: Path, tmp_path: Path) -> None:
    lines = pipeline.run(load_recipe(project / "recipe.yaml", ["seeds=[4]"]), workspace=tmp_path)
    assert [line.name for line in lines] == ["grpo/seed-4", "eval", "report"]
    content = read_json(next(line.folder for line in lines if line.name == "eval") / "evaluation.json")
    assert "seeds" not in content
    assert "grpo: one training seed, so no interval over seeds" in content["notes"]
    assert "One training seed" in Path(lines[-1].link).read_text(encoding="utf-8")
