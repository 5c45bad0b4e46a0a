"""The recipes of the summarisation lab: with a network missing, with local folders on DialogSum, and the tiny one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from preflab import pipeline
from preflab.errors import PreflabError
from preflab.models.tiny import build_classifier, build_t5, build_tokenizer
from preflab.pipeline import Line
from preflab.recipe import load_recipe

SCRIPT = Path("recipes") / "dialogue_detox" / "data.py"
HATE = "stages.ppo.rewards.0.model", "stages.eval.classifiers.toxicity_by_reward.model"


@pytest.fixture(scope="module")
def dialogsum(shared: Path) -> Path:
    """The folder with DialogSum's own files."""
    return shared / "data" / "dialogsum"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, dialogsum: Path) -> Path:
    """Small random models of the recipe's architectures: t5, hate (nothate, hate) and toxic (neutral, toxic)."""
    folder = tmp_path_factory.mktemp("models")
    lines = (dialogsum / "dialogsum.dev.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    texts = [text for row in rows for text in (row["dialogue"], row["summary"])]
    words = build_tokenizer(texts, context=512, most_words=500)
    t5 = build_t5(words, num_layers=1, hidden_size=16, num_heads=2, context=512, seed=0)
    made = {"t5": t5}
    for name, classes in (("hate", ("nothate", "hate")), ("toxic", ("neutral", "toxic"))):
        made[name] = build_classifier(
            words, classes, architecture="bert", num_layers=1, hidden_size=16, num_heads=2, context=512, seed=1
        )
    for name, model in made.items():
        model.save_pretrained(folder / name)
        words.save_pretrained(folder / name)
    return folder


def local_folders(models: Path, dialogsum: Path) -> list[str]:
    """The options of the recipe's head comment, for these folders."""
    files = {"shown": "train", "train": "train", "test": "dev"}
    return [
        f"stages.sft.model={models / 't5'}",
        *(f"{place}={models / 'hate'}" for place in HATE),
        f"stages.eval.classifiers.toxicity.model={models / 'toxic'}",
        *(f"data.{name}.path={dialogsum / f'dialogsum.{part}.jsonl'}" for name, part in files.items()),
        *(f"data.{name}.split=null" for name in files),
    ]


def recipe_of(repository: Path, name: str, overrides: list[str]) -> Any:
    return load_recipe(repository / "recipes" / f"{name}.yaml", overrides)


def test_without_a_network_the_recipe_names_all_that_is_missing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PreflabError) as error:
        pipeline.run(recipe_of(repository, "dialogue_detox", []), workspace=tmp_path)
    text = str(error.value)
    for ref in (
        "google/flan-t5-base",
        "facebook/roberta-hate-speech-dynabench-r4-target",
        "s-nlp/roberta_toxicity_classifier",
        "knkarthick/dialogsum",
    ):
        assert f"{ref} lacks" in text
    assert "--set stages.sft.model=/path/to/flan-t5-base" in text


@pytest.mark.slow
def test_recipe_with_local_folders_runs_to_the_report_on_dialogsum(
    repository: Path, tmp_path: Path, models: Path, dialogsum: Path
) -> None:
    small = [
        "device.precision=float32",
        "data.shown.limit=40",
        "data.train.limit=40",
        "data.test.limit=12",
        "stages.ppo.num_steps=2",
        "stages.ppo.num_completions_per_step=8",
        "stages.ppo.decoding.max_new_tokens=8",
        "stages.eval.decoding.max_new_tokens=8",
    ]
    recipe = recipe_of(repository, "dialogue_detox", [*local_folders(models, dialogsum), *small])
    lines = {line.name: line for line in pipeline.run(recipe, workspace=tmp_path)}
    assert {line.state for line in lines.values()} == {"done"}
    evaluation = json.loads((lines["eval"].folder / "evaluation.json").read_text())
    assert evaluation["prompts"]["num"] == 12
    measures = evaluation["models"][0]["figures"].keys()
    assert {"probability/toxicity", "probability/toxicity_by_reward", "rouge/1"} <= measures
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Less toxic summaries of DialogSum" in page


@pytest.mark.slow
def test_dialogsum_goes_through_the_tiny_recipe(repository: Path, tmp_path: Path, dialogsum: Path) -> None:
    subprocess.run([sys.executable, str(repository / SCRIPT), str(tmp_path), "--scale", "0.02"], check=True)
    files = {"shown": "train", "train": "train", "test": "dev"}
    small = [
        f"data.labels.path={tmp_path / 'labels.jsonl'}",
        *(f"data.{name}.path={dialogsum / f'dialogsum.{part}.jsonl'}" for name, part in files.items()),
        *(f"data.{name}.limit=60" for name in files),
        "stages.t5.context=100",
        "stages.t5.most_words=300",
        "stages.base.num_epochs=1",
        "stages.ppo.num_steps=2",
        "stages.ppo.num_completions_per_step=8",
    ]
    recipe = recipe_of(repository, "dialogue_detox_tiny", small)
    lines = {line.name: line for line in pipeline.run(recipe, workspace=tmp_path)}
    assert {line.state for line in lines.values()} == {"done"}
    # Dialogues of more than 100 words, begin and end included, are left out and counted.
    evaluation = json.loads((lines["eval"].folder / "evaluation.json").read_text())
    assert 0 < evaluation["prompts"]["num"] < 60
    assert f"{60 - evaluation['prompts']['num']} of 60 prompts" in " ".join(evaluation["notes"])


def small_lab(repository: Path, folder: Path, *overrides: str) -> list[str]:
    """Options for the tiny recipe on a fiftieth of the data, which is written to the folder."""
    subprocess.run([sys.executable, str(repository / SCRIPT), str(folder), "--scale", "0.02"], check=True)
    files = {"shown": "train", "train": "train", "test": "test", "labels": "labels"}
    places = [f"data.{name}.path={folder / f'{file}.jsonl'}" for name, file in files.items()]
    steps = ["stages.base.num_epochs=1", "stages.ppo.num_steps=2", "stages.ppo.num_completions_per_step=8"]
    return [*places, *steps, *overrides]


@pytest.mark.slow
def test_one_test_prompt_gives_figures_without_intervals(repository: Path, tmp_path: Path) -> None:
    options = small_lab(repository, tmp_path, "data.test.limit=1")
    lines = {
        line.name: line
        for line in pipeline.run(recipe_of(repository, "dialogue_detox_tiny", options), workspace=tmp_path)
    }
    evaluation = json.loads((lines["eval"].folder / "evaluation.json").read_text())
    assert evaluation["prompts"]["num"] == 1
    change = evaluation["comparisons"][0]["differences"]["probability/toxicity"]
    assert (change["low"], change["high"]) == (None, None)
    assert change["note"]
    assert lines["report"].state == "done"


def test_call_longer_than_the_encoder_is_refused_with_its_line(repository: Path, tmp_path: Path) -> None:
    options = small_lab(repository, tmp_path, "stages.t5.context=30", "stages.base.too_long=refuse")
    with pytest.raises(PreflabError) as error:
        pipeline.run(recipe_of(repository, "dialogue_detox_tiny", options), workspace=tmp_path, until=["base"])
    assert "train.jsonl, line 1" in str(error.value)
    assert "at most 30 tokens in the prompt" in str(error.value)


@pytest.fixture(scope="module")
def tiny(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Line]:
    """The stages of the whole tiny recipe: four minutes."""
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([sys.executable, str(repository / SCRIPT), str(folder)], check=True)
    files = {"shown": "train", "train": "train", "test": "test", "labels": "labels"}
    places = [f"data.{name}.path={folder / f'{file}.jsonl'}" for name, file in files.items()]
    recipe = recipe_of(repository, "dialogue_detox_tiny", places)
    return {line.name: line for line in pipeline.run(recipe, workspace=folder)}


@pytest.mark.slow
def test_tiny_lab_lowers_toxicity_by_the_other_classifier_and_keeps_rouge(tiny: dict[str, Line]) -> None:
    evaluation = json.loads((tiny["eval"].folder / "evaluation.json").read_text())
    assert evaluation["prompts"]["num"] == 400
    figures = {model["name"]: model["figures"] for model in evaluation["models"]}
    changes = {each["model"]: each["differences"] for each in evaluation["comparisons"]}
    policies = changes.keys() - {"human"}
    assert policies  # one, or one per training seed
    for name in policies:
        assert changes[name]["probability/toxicity"]["high"] < 0
        assert figures[name]["rouge/1"]["value"] > 0.9 * figures["base"]["rouge/1"]["value"]
    assert figures["base"]["rouge/1"]["value"] > 0.6
    assert changes["human"]["probability/toxicity"]["high"] < 0
