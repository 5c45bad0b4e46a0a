"""An evaluation that counts as harm what its models were rewarded for is refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.recipe import load_recipe
from preflab.stages import check_before


def check(folder: Path, reward: dict[str, Any], classifier: dict[str, Any], **further: Any) -> None:
    """Checks the stage `eval` of a recipe with this reward, this classifier and further settings of the stage."""
    for name in ("policy", "tone", "judge"):
        (folder / name).mkdir()
    (folder / "prompts.jsonl").write_text('{"prompt": "Who?"}\n')
    stages = {
        "ppo": {"kind": "ppo", "model": "policy", "prompts": "asked", "rewards": [{"model": "tone", **reward}]},
        "best": {"kind": "best_of_n", "model": "policy", "prompts": "asked", "rewards": [{"model": "tone", **reward}]},
        "eval": {
            "kind": "evaluate",
            "models": ["policy", "ppo"] if "completions" not in further else ["policy"],
            "prompts": "asked",
            "classifiers": {"toxicity": {"model": "judge", **classifier}},
            **further,
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({"recipe": 1, "data": {"asked": {"path": "prompts.jsonl"}}, "stages": stages}))
    check_before(load_recipe(path), "eval")


@pytest.mark.parametrize(
    ("reward", "classifier", "verb"),
    [
        ({"class_label": "hate"}, {"class_label": "Hate"}, "rewards the class `hate`"),
        ({"class_label": "nothate", "weight": -1.0}, {"class_label": "nothate", "better": "higher"}, "penalises"),
        ({"class_label": "1", "model": "judge"}, {"class_label": "1"}, "rewards the class `1`"),
    ],
)
def test_reward_on_the_wrong_side_is_refused(
    tmp_path: Path, reward: dict[str, Any], classifier: dict[str, Any], verb: str
) -> None:
    with pytest.raises(PreflabError) as error:
        check(tmp_path, reward, classifier)
    assert f"stages.ppo.rewards.0 {verb}" in str(error.value)
    assert "classifiers.toxicity" in str(error.value)


@pytest.mark.parametrize(
    ("reward", "classifier"),
    [
        ({"class_label": "nothate"}, {"class_label": "hate"}),
        ({"class_label": "hate", "weight": -1.0}, {"class_label": "hate"}),
        ({"class_label": "hate"}, {"class_label": "hate", "better": "higher"}),
        ({"class_label": "1"}, {"class_label": "1"}),  # two classifiers, whose numbers may mean different classes
    ],
)
def test_reward_on_the_right_side_is_accepted(
    tmp_path: Path, reward: dict[str, Any], classifier: dict[str, Any]
) -> None:
    check(tmp_path, reward, classifier)


def test_an_unknown_primary_measure_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="(?s)'probability/tox' is not a measure.*near it: probability/toxicity"):
        check(tmp_path, {"class_label": "nothate"}, {"class_label": "hate"}, primary="probability/tox")


def test_completions_chosen_by_the_wrong_side_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="stages.best.rewards.0 rewards the class `hate`"):
        check(tmp_path, {"class_label": "hate"}, {"class_label": "hate"}, completions=["best"])
