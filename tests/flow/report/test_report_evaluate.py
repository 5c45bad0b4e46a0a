"""The stages evaluate and report on a tiny random model and a disturbed copy of it, through the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.models.loading import load_causal_lm
from preflab.models.tiny import build_model, build_tokenizer
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.store.workspace import Workspace

NUM_PROMPTS, NUM_COMPLETIONS = 12, 2
JUDGES = '''
FAIL_UTILITY = -1.0

def vowels(prompt, completion):
    """Share of words with an a; an empty completion is an F."""
    words = completion.split()
    return sum("a" in word for word in words) / len(words) if words else None

def length(prompts, completions):
    return [float(len(text)) for text in completions]

def tone(prompt, completion):
    return "long" if len(completion) > 20 else "short"
'''
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
    judges: {vowels: my_judges:vowels, length: my_judges:length}
    primary: judge/length
    labels: my_judges:tone
    num_completions: 2
    decoding: {max_new_tokens: 12}
    tilted_optimum: vowels
    num_tilted_prompts: 4
    num_tilted_completions: 16
  report: {kind: report, of: [eval], title: Tiny, num_samples: 3}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe was run once."""
    folder = tmp_path_factory.mktemp("evaluate")
    texts = ["a cat sat on a mat .", "the dog ran far away .", "where is my parcel ?", "it is late ."]
    tokenizer = build_tokenizer(texts, context=48)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=48, seed=0)
    for name, noise in (("first", 0.0), ("second", 0.02)):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(noise * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    lines = [json.dumps({"prompt": f"{'the dog ' * (1 + index)}?"}) for index in range(NUM_PROMPTS)]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "my_judges.py").write_text(JUDGES)
    (folder / "recipe.yaml").write_text(RECIPE)
    run(load_recipe(folder / "recipe.yaml", []))
    return folder


@pytest.fixture(scope="module")
def evaluation(workspace: Path) -> dict[str, Any]:
    (folder,) = (workspace / "runs").glob("eval-*")
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


@pytest.fixture(scope="module")
def samples(workspace: Path) -> list[dict[str, Any]]:
    (folder,) = (workspace / "runs").glob("eval-*")
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_figures_are_those_of_the_samples(evaluation: dict[str, Any], samples: list[dict[str, Any]]) -> None:
    assert len(samples) == NUM_PROMPTS
    for model in evaluation["models"]:
        texts = [one["text"] for row in samples for one in row["completions"][model["name"]]]
        assert len(texts) == NUM_PROMPTS * NUM_COMPLETIONS
        lengths = [len(text) for text in texts]
        figure = model["figures"]["judge/length"]
        assert figure["value"] == pytest.approx(sum(lengths) / len(lengths))
        assert figure["num"] == NUM_PROMPTS
        long = sum(length > 20 for length in lengths)
        assert model["counts"].get("long", 0) == long
        if "label/long" in model["figures"]:
            assert model["figures"]["label/long"]["value"] == pytest.approx(long / len(texts))


def test_f_counts_what_the_module_says(evaluation: dict[str, Any], samples: list[dict[str, Any]]) -> None:
    for model in evaluation["models"]:
        scores = [one["scores"]["judge/vowels"] for row in samples for one in row["completions"][model["name"]]]
        assert model["figures"]["fail/vowels"]["value"] == pytest.approx(sum(s is None for s in scores) / len(scores))
        counted = [-1.0 if score is None else score for score in scores]
        assert model["figures"]["judge/vowels"]["value"] == pytest.approx(sum(counted) / len(counted))
    assert evaluation["judges"]["vowels"]["fail_utility"] == -1.0


def test_kl_is_zero_for_the_reference_and_agrees_with_the_log_ratios(
    workspace: Path, evaluation: dict[str, Any], samples: list[dict[str, Any]]
) -> None:
    first, second = evaluation["models"]
    assert first["figures"]["kl/exact"]["value"] == 0
    # Brute force for one completion of the second model: the two full distributions at every position.
    one = samples[3]["completions"]["second"][1]
    with Workspace.open(workspace) as opened:
        (record,) = opened.completions([one["id"]])
        (prompt,) = opened.prompts([record.prompt_id])
    models = [load_causal_lm(workspace / name, dtype="float32") for name in ("second", "first")]
    tokenizer = build_prompt_tokenizer(workspace)
    ids = [tokenizer.bos_token_id, *tokenizer(prompt.text, add_special_tokens=False)["input_ids"]]
    row = torch.tensor([[*ids, *record.token_ids]])
    with torch.no_grad():
        policy, reference = (model(row).logits[0, len(ids) - 1 : -1].double().log_softmax(-1) for model in models)
    expected = float((policy.exp() * (policy - reference)).sum())
    assert one["kl"] == pytest.approx(expected, rel=1e-3)
    assert expected > 0
    chosen = policy.gather(1, torch.tensor(record.token_ids)[:, None])[:, 0]
    assert record.logps == pytest.approx(chosen.tolist(), abs=1e-4)
    kls = [one["kl"] for row in samples for one in row["completions"]["second"]]
    assert second["figures"]["kl/exact"]["value"] == pytest.approx(sum(kls) / len(kls))


def build_prompt_tokenizer(workspace: Path) -> Any:
    from preflab.models.loading import load_tokenizer

    return load_tokenizer(workspace / "first")


def test_differences_are_paired_and_stored(workspace: Path, evaluation: dict[str, Any]) -> None:
    (comparison,) = evaluation["comparisons"]
    first, second = (model["figures"]["judge/length"]["value"] for model in evaluation["models"])
    assert comparison["differences"]["judge/length"]["value"] == pytest.approx(second - first)
    with Workspace.open(workspace) as opened:
        stored = opened.evaluations(model=evaluation["models"][1]["weights"])
        completions = opened.completions(model=evaluation["models"][1]["weights"])
    assert len(completions) == NUM_PROMPTS * NUM_COMPLETIONS
    (difference,) = [e for e in stored if e.measure == "judge/length" and e.baseline]
    assert difference.baseline == evaluation["models"][0]["weights"]
    assert difference.value == pytest.approx(second - first)
    assert {c.id for c in completions} <= set(difference.completion_ids)


def test_the_primary_measure_comes_first(workspace: Path, evaluation: dict[str, Any]) -> None:
    """`vowels` is the first judge; the recipe names `length`."""
    assert evaluation["primary"] == "judge/length"
    (comparison,) = evaluation["comparisons"]
    differences = comparison["differences"]
    assert [name for name, one in differences.items() if one["family"] == "primary"] == ["judge/length"]
    assert differences["judge/length"]["p_holm"] == differences["judge/length"]["p"]
    others = [one for one in differences.values() if one["family"] == "others" and one["p"] is not None]
    assert all(one["p_holm"] >= one["p"] for one in others)
    smallest = min(others, key=lambda one: one["p"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, len(others) * smallest["p"]))
    (folder,) = (workspace / "runs").glob("eval-*")
    assert "length (judge)" in json.loads((folder / "manifest.json").read_text())["summary"]
    assert "Primary measure: length (judge)" in (workspace / "report.html").read_text()


def test_the_optimum_starts_at_the_reference_and_rises(evaluation: dict[str, Any]) -> None:
    tilted = evaluation["tilted"]
    values = [point["value"] for point in tilted["curve"]]
    assert tilted["curve"][0]["kl"] == 0
    assert values == sorted(values)
    assert [one["model"] for one in tilted["models"]] == ["first", "second"]
    assert [one["n"] for one in tilted["best_of"]] == [2, 4, 8]


def test_stored_completions_are_counted_before_a_model_is_opened(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preflab.pipeline.running.check_hub_files", lambda recipe, names: None)
    stages = """
  answers: {kind: sample, model: first, prompts: prompts, num_completions: 1, max_new_tokens: 2}
  beside:
    kind: evaluate
    models: [nobody/no-such-model]
    completions: [answers]
    prompts: prompts
    num_completions: 2
"""
    (workspace / "beside.yaml").write_text(RECIPE.replace("stages:\n", f"stages:{stages}"))
    with pytest.raises(PreflabError, match="answers has 1 completion of"):
        run(load_recipe(workspace / "beside.yaml", []), until=["beside"])


def test_the_report_lies_in_the_workspace_and_its_links_lead_somewhere(workspace: Path) -> None:
    import re

    (folder,) = (workspace / "runs").glob("report-*")
    for page in (workspace / "report.html", folder / "report.html"):
        html = page.read_text()
        links = [href for href in re.findall(r'href="([^"]+)"', html) if not href.startswith("#")]
        assert links
        assert not [href for href in links if not (page.parent / href).exists()]
        anchors = [href[1:] for href in re.findall(r'href="(#[^"]+)"', html)]
        assert all(f'id="{anchor}"' in html for anchor in anchors)


def test_repeated_prompts_are_noted_without_reference_texts(workspace: Path) -> None:
    rows = [json.dumps({"prompt": "the dog ?", "row": row}) for row in range(3)]
    (workspace / "again.jsonl").write_text("\n".join(rows) + "\n")
    few = ["data.prompts.path=again.jsonl", "stages.eval.tilted_optimum=null"]
    lines = run(load_recipe(workspace / "recipe.yaml", few), workspace=workspace / "again", until=["eval"])
    notes = json.loads((lines[0].folder / "evaluation.json").read_text())["notes"]
    assert any(note.startswith("2 prompts have the text of an earlier one") for note in notes)
