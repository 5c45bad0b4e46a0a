"""The stage rating in a recipe: which word people rate higher is found, on prompts that were not rated."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from preflab.errors import PreflabError
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.rewards.score import load_reward_model, reward_scores
from preflab.training.tensor_files import read_tensors

RECIPE = """
recipe: 1
data:
  corpus: {path: corpus.jsonl}
  rated: {path: rated.jsonl}
stages:
  base: {kind: tiny, text: corpus, num_layers: 1, hidden_size: 32, num_heads: 2, context: 24, num_steps: 5}
  rm:
    {kind: rating, model: base, preferences: rated, held_out: 0.25, num_epochs: 10,
     criteria: {helpfulness: 2.0, honesty: 1.0}, lora: {rank: 4}, optimiser: {learning_rate: 1.0e-2}}
"""
WORDS = ["please", "you", "wait", "truly", "maybe", "until", "today", "."]


def rows() -> list[dict[str, object]]:
    """Helpful ones say please, honest ones say truly; ratings 1 to 5 with some noise."""
    rng = random.Random(3)
    made = []
    for number in range(80):
        completions = []
        for _ in range(3):
            polite, honest = rng.random() < 0.5, rng.random() < 0.5
            text = f"{'please' if polite else 'you'} wait {'truly' if honest else 'maybe'} until today ."
            ratings = {"helpfulness": 4 if polite else 2, "honesty": 5 if honest else 2}
            completions.append(
                {
                    "model": "someone",
                    "response": text,
                    "annotations": {
                        name: {"Rating": str(min(5, max(1, value + rng.choice([-1, 0, 0, 1]))))}
                        for name, value in ratings.items()
                    },
                }
            )
        made.append({"instruction": f"question {number} ?", "completions": completions})
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with its data."""
    made = tmp_path_factory.mktemp("recipe")
    words = [*WORDS, "question", "?", *map(str, range(80))]
    corpus = [{"text": " ".join(words[i : i + 12])} for i in range(0, len(words), 6)]
    for name, content in {"corpus": corpus, "rated": rows()}.items():
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    (made / "recipe.yaml").write_text(RECIPE)
    return made


@pytest.fixture(scope="module")
def rm(folder: Path) -> Line:
    """The finished rating stage."""
    return run(load_recipe(folder / "recipe.yaml"))[-1]


def test_rating_model_explains_most_of_the_explainable_variance(rm: Line) -> None:
    report = json.loads((rm.folder / "reward_report.json").read_text())
    for quality in report["ratings"]["held_out"].values():
        assert quality["num"] == 63
        assert quality["explained"] > 0.4
        assert quality["tau"]["value"] > 0.4
    assert report["held_out"]["accuracy"]["value"] > 0.75
    assert rm.summary.startswith("error on 63 held-out completions: helpfulness ")


def test_rating_model_loads_as_a_reward_model(rm: Line) -> None:
    trunk, encoder = load_reward_model(rm.folder / "reward")
    from preflab.records import Completion, Prompt

    prompt = Prompt.make(text="question 3 ?")
    texts = ["please wait truly until today .", "you wait maybe until today ."]
    better, worse = reward_scores(
        trunk, [encoder(prompt, Completion.make(prompt.id, text, "m")) for text in texts], 100
    ).tolist()
    assert better > worse + 1


def test_rating_stage_saves_the_heads_of_the_criteria(rm: Line) -> None:
    heads = read_tensors(rm.folder / "reward" / "criteria.safetensors")
    head = read_tensors(rm.folder / "reward" / "head.safetensors")
    torch.testing.assert_close(
        (heads["linear.weight"] * torch.tensor([[2 / 3], [1 / 3]])).sum(0), head["linear.weight"][0]
    )


def test_a_misspelt_criterion_is_named(folder: Path) -> None:
    recipe = load_recipe(folder / "recipe.yaml", ["stages.rm.criteria={honest: 1.0}"])
    with pytest.raises(PreflabError, match="criterion 'honest': nobody rated it"):
        run(recipe)
