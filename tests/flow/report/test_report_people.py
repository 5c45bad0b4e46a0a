"""The stages evaluate and report with a classifier and texts of people beside two tiny random models."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.evaluation.rouge import best_rouge
from preflab.models.tiny import build_model, build_tokenizer
from preflab.pipeline import run
from preflab.recipe import load_recipe
from tiny_classifier import save_classifier, toxicity_of

NUM_PROMPTS = 10
RECIPE = """
recipe: 1
seed: 3
data:
  prompts: {path: prompts.jsonl}
stages:
  eval:
    kind: evaluate
    models: [first, second]
    prompts: prompts
    classifiers: {toxicity: {model: ./toxic, class_label: toxic, threshold: 0.4}}
    judges: {letters: people_judges:letters}
    reference_texts: [summary, others]
    num_completions: 2
    decoding: {max_new_tokens: 8}
  report: {kind: report, of: [eval], title: Tiny, num_samples: 3}
"""
TEXTS = ["a cat sat on a mat .", "the dog ran far away .", "where is my parcel ?", "it is late ."]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe was run once."""
    folder = tmp_path_factory.mktemp("people")
    tokenizer = build_tokenizer(TEXTS, context=48)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=48, seed=0)
    for name, noise in (("first", 0.0), ("second", 0.1)):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(noise * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    save_classifier(folder / "toxic", TEXTS)
    rows = [
        {"prompt": f"{'the dog ' * (1 + i)}?", "summary": TEXTS[i % 4], "others": [TEXTS[(i + 1) % 4], "the cat ."]}
        for i in range(NUM_PROMPTS)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "people_judges.py").write_text("def letters(prompt, completion):\n    return float(len(completion))\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    run(load_recipe(folder / "recipe.yaml", []))
    return folder


@pytest.fixture(scope="module")
def evaluation(workspace: Path) -> dict[str, Any]:
    (folder,) = (workspace / "runs").glob("eval-*")
    evaluation: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return evaluation


@pytest.fixture(scope="module")
def samples(workspace: Path) -> list[dict[str, Any]]:
    (folder,) = (workspace / "runs").glob("eval-*")
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def figures(evaluation: dict[str, Any], name: str) -> dict[str, Any]:
    (matching,) = [model for model in evaluation["models"] if model["name"] == name]
    return dict(matching["figures"])


@pytest.mark.parametrize("name", ["first", "second", "human"])
def test_toxicity_is_the_classifiers_probability(
    workspace: Path, evaluation: dict[str, Any], samples: list[dict[str, Any]], name: str
) -> None:
    ones = [one for row in samples for one in row["completions"][name]]
    values = [one["scores"]["probability/toxicity"] for one in ones]
    assert values[0] == pytest.approx(toxicity_of(workspace / "toxic", ones[0]["text"]), abs=1e-5)
    measured = figures(evaluation, name)
    assert measured["probability/toxicity"]["value"] == pytest.approx(statistics.fmean(values))
    assert measured["spread/toxicity"]["value"] == pytest.approx(statistics.pstdev(values))
    assert measured["above/toxicity"]["value"] == pytest.approx(sum(value > 0.4 for value in values) / len(values))
    assert measured["spread/toxicity"]["num"] == NUM_PROMPTS


def test_rouge_is_measured_against_all_texts_of_the_prompt(
    workspace: Path, evaluation: dict[str, Any], samples: list[dict[str, Any]]
) -> None:
    rows = [json.loads(line) for line in (workspace / "prompts.jsonl").read_text().splitlines()]
    values = [
        best_rouge("l", one["text"], [row["summary"], *row["others"]])
        for row, sample in zip(rows, samples, strict=True)
        for one in sample["completions"]["second"]
    ]
    measured = figures(evaluation, "second")
    assert measured["rouge/l"]["value"] == pytest.approx(statistics.fmean(one.f1 for one in values))
    assert measured["rouge/l/recall"]["value"] == pytest.approx(statistics.fmean(one.recall for one in values))


def test_the_human_is_a_contestant_without_what_only_models_have(
    evaluation: dict[str, Any], samples: list[dict[str, Any]]
) -> None:
    assert evaluation["human"] == "human"
    assert [one["text"] for one in samples[1]["completions"]["human"]] == [TEXTS[1]]
    measured = figures(evaluation, "human")
    only_models = {"kl/exact", "entropy/token", "length/tokens", "finished/share", "distinct/1", "distinct/2"}
    assert not only_models & measured.keys()
    assert only_models <= figures(evaluation, "first").keys()
    # Letters of the four texts, in turn for ten prompts: 20, 22, 20, 12 → (3·20 + 3·22 + 2·20 + 2·12) / 10 = 19.
    assert measured["judge/letters"]["value"] == pytest.approx(19.0)
    # Words: 7, 6, 5, 4 with punctuation → (3·7 + 3·6 + 2·5 + 2·4) / 10 = 5.7.
    assert measured["length/words"]["value"] == pytest.approx(5.7)
    (model,) = [model for model in evaluation["models"] if model["name"] == "human"]
    assert model["num_completions"] == NUM_PROMPTS
    (compared,) = [entry for entry in evaluation["comparisons"] if entry["model"] == "human"]
    first = figures(evaluation, "first")["judge/letters"]["value"]
    assert compared["differences"]["judge/letters"]["value"] == pytest.approx(19.0 - first)
    assert "rouge/1" in measured  # against the other two texts
    assert [point["model"] for point in evaluation["frontier"]] == ["first", "second"]
    assert set(evaluation["frontier"][0]["worth"]) == {"judge/letters", "probability/toxicity"}


def test_the_report_shows_them_and_judges_only_models(workspace: Path) -> None:
    html = (workspace / "report.html").read_text(encoding="utf-8")
    assert "probability of the class toxic by ./toxic, threshold 0.4" in html
    assert "toxicity above the threshold" in html
    assert "ROUGE-L, F1" in html
    assert "Precision and recall of ROUGE" in html
    first_screen = html.partition('id="comparison"')[0]
    assert "human" not in first_screen
    assert "ROUGE is F1 without stemming against 3 reference texts per prompt" in html


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class_label: toxic", "class_label: rude", "the class 'rude'"),
        ("reference_texts: [summary, others]", "reference_texts: [summry]", "no column `summry`"),
        ("models: [first, second]", "models: [second, human]", "the model 'human' beside `reference_texts`"),
    ],
)
def test_mistakes_are_named(workspace: Path, old: str, new: str, message: str) -> None:
    if not (workspace / "human").exists():
        (workspace / "human").symlink_to(workspace / "second")
    (workspace / "bad.yaml").write_text(RECIPE.replace(old, new))
    with pytest.raises(PreflabError, match=message):
        run(load_recipe(workspace / "bad.yaml"), until=["eval"])


def test_a_reward_model_is_not_a_classifier(workspace: Path) -> None:
    from preflab.rewards.score import CARD

    (workspace / "rm").mkdir(exist_ok=True)
    (workspace / "rm" / CARD).write_text("{}")
    (workspace / "bad.yaml").write_text(RECIPE.replace("./toxic", "./rm"))
    with pytest.raises(PreflabError, match="is a reward model, which has no classes"):
        run(load_recipe(workspace / "bad.yaml"), until=["eval"])
