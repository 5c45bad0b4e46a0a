"""A recipe whose models and data are on the Hub stops at once without a network, and says all that is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from preflab import pipeline
from preflab.errors import PreflabError
from preflab.pipeline.hub_files import check_hub_files
from preflab.recipe import Recipe, load_recipe

POLICY, CLASSIFIER, DATA = "somebody/some-t5", "somebody/some-classifier", "somebody/dialogues"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network, and an empty cache; returns the cache's folder."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(cache), raising=False)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "data sets"))
    return cache


def cached(cache: Path, ref: str, *files: str) -> None:
    """A repository in the cache, as the Hub's client lays it out."""
    repository = cache / f"models--{ref.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123")
    (repository / "snapshots" / "0123").mkdir(parents=True)
    for name in files:
        (repository / "snapshots" / "0123" / name).write_text("{}")


def recipe_in(folder: Path, **overrides: Any) -> Recipe:
    data = {"shown": {"path": DATA, "split": "train"}}
    stages = {
        "sft": {"kind": "sft", "model": POLICY, "data": "shown"},
        "ppo": {
            "kind": "ppo",
            "model": "sft",
            "prompts": "shown",
            "rewards": [{"model": CLASSIFIER, "class_label": "nothate"}],
        },
        "eval": {"kind": "evaluate", "models": [POLICY, "ppo"], "prompts": "shown"},
    }
    path = folder / "lab.yaml"
    path.write_text(json.dumps({"recipe": 1, "data": data, "stages": stages}))
    return load_recipe(path, [f"{name}={value}" for name, value in overrides.items()])


def test_everything_missing_is_named_at_once_with_the_settings_to_change(tmp_path: Path) -> None:
    with pytest.raises(PreflabError) as error:
        pipeline.run(recipe_in(tmp_path))
    text = str(error.value)
    assert "3 repositories of the Hub are not on this machine" in text
    assert "HF_HUB_OFFLINE is set" in text
    assert f"{POLICY} lacks config.json, the weights and the tokenizer: stages.sft.model, stages.eval.models.0" in text
    assert f"{CLASSIFIER} lacks config.json, the weights and the tokenizer: stages.ppo.rewards.0.model" in text
    assert f"{DATA} lacks its rows: data.shown.path" in text
    assert "--set stages.sft.model=/path/to/some-t5" in text
    assert "--set stages.ppo.rewards.0.model=/path/to/some-classifier" in text
    assert "--set data.shown.path=/path/to/train.jsonl --set data.shown.split=null" in text
    assert f"hf download {POLICY}; hf download {CLASSIFIER}; hf download --repo-type dataset {DATA}" in text
    assert not list((tmp_path / "runs").glob("sft-*"))


def test_parts_of_a_half_fetched_model_are_named(tmp_path: Path, empty_cache: Path) -> None:
    cached(empty_cache, POLICY, "config.json", "tokenizer.json")
    cached(empty_cache, CLASSIFIER, "config.json", "model.safetensors", "vocab.json")
    with pytest.raises(PreflabError) as error:
        check_hub_files(recipe_in(tmp_path), ["sft", "ppo"])
    assert f"{POLICY} lacks the weights: stages.sft.model" in str(error.value)
    assert CLASSIFIER not in str(error.value)


def test_local_folders_and_files_need_no_hub(tmp_path: Path) -> None:
    for name in ("t5", "classifier"):
        (tmp_path / name).mkdir()
    (tmp_path / "rows.jsonl").write_text("{}\n")
    recipe = recipe_in(
        tmp_path,
        **{
            "stages.sft.model": "t5",
            "stages.eval.models.0": "./t5",
            "stages.ppo.rewards.0.model": "classifier",
            "data.shown.path": "rows.jsonl",
            "data.shown.split": "null",
        },
    )
    check_hub_files(recipe, ["sft", "ppo", "eval"])


def test_only_stages_that_will_run_are_asked_about(tmp_path: Path, empty_cache: Path) -> None:
    cached(empty_cache, POLICY, "config.json", "tokenizer.json", "model.safetensors")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    recipe = recipe_in(tmp_path, **{"data.shown.path": "rows.jsonl"})
    check_hub_files(recipe, ["sft"])
    with pytest.raises(PreflabError, match="1 repository of the Hub is not on this machine"):
        check_hub_files(recipe, ["sft", "ppo"])


def test_hub_that_answers_is_left_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("preflab.models.hub_ids.why_unreachable", lambda ref: "")
    check_hub_files(recipe_in(tmp_path), ["sft", "ppo"])
