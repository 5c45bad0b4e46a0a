"""An evaluation that counts as harm what its models were rewarded for is refused before anything runs."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.recipe import load_recipe
from preflab.stages import check_before


def check(folder: Path, reward: dict[str, Any], classifier: dict[str, Any], rows: str = "", **further: Any) -> None:
    """Checks the stage `eval` of a recipe with this reward, this classifier and further settings of the stage."""
    for name in ("policy", "tone", "judge"):
        (folder / name).mkdir()
    (folder / "prompts.jsonl").write_text(rows or '{"prompt": "Who?"}\n')
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


def test_missing_reference_texts_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="the prompts have no column `summary`"):
        check(tmp_path, {"class_label": "polite"}, {"class_label": "rude"}, reference_texts=["summary"])


@pytest.mark.parametrize(
    ("settings", "refused"), [({}, True), ({"max_prompts": 1}, False), ({"too_long": "leave_out"}, False)]
)
def test_a_prompt_without_a_reference_text_is_refused_if_it_is_surely_asked(
    tmp_path: Path, settings: dict[str, Any], refused: bool
) -> None:
    rows = '{"prompt": "Who?", "summary": "a"}\n{"prompt": "What?", "summary": ""}\n'
    given = ({"class_label": "polite"}, {"class_label": "rude"})
    with pytest.raises(PreflabError, match="1 of 2 prompts without a text") if refused else nullcontext():
        check(tmp_path, *given, rows, reference_texts=["summary"], **settings)
