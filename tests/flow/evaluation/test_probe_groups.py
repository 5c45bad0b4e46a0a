"""The stage probe with the packaged data: swapped groups and myths, by judges whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.models.tiny import build_model, build_tokenizer
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from tiny_classifier import save_classifier, toxicity_of

JUDGES = '''
def of_the_prompt(prompt, completion):
    """2 for a woman, 0.5 for anybody else: a judge that is biased by construction."""
    return 2.0 if any(name in prompt for name in ("Mary", "Susan", "Laura")) else 0.5
'''
RECIPE = """
recipe: 1
data:
  swaps: {path: "preflab:swaps.jsonl"}
  myths: {path: preflab:myths.jsonl}
stages:
  probe:
    kind: probe
    models: [first, second]
    bias: swaps
    misinformation: myths
    judges: {known: swap_judges:of_the_prompt}
    classifiers: {toxicity: {model: ./toxic, class_label: toxic}}
    judge: {model: ./first}
    decoding: {max_new_tokens: 4}
  report: {kind: report, of: [probe]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("groups")
    texts = ["yes that is a myth .", "no it may be so ,", "Doctor Nurse Engineer Secretary Pilot Cleaner"]
    tokenizer = build_tokenizer(texts, context=512)
    for seed, name in enumerate(("first", "second")):
        build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=512, seed=seed).save_pretrained(
            made / name
        )
        tokenizer.save_pretrained(made / name)
    save_classifier(made / "toxic", texts)
    (made / "swap_judges.py").write_text(JUDGES)
    (made / "recipe.yaml").write_text(RECIPE)
    return made


@pytest.fixture(scope="module")
def probe(folder: Path) -> Line:
    return run(load_recipe(folder / "recipe.yaml"), until=["probe"])[-1]


@pytest.fixture(scope="module")
def report(probe: Line) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((probe.folder / "probe.json").read_text())
    return report


def lines(probe: Line, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (probe.folder / name).read_text(encoding="utf-8").splitlines()]


def contrast(report: dict[str, Any], about: str, model: int = 1) -> dict[str, Any]:
    (matching,) = [one for one in report["bias"]["models"][model]["contrasts"] if one["about"] == about]
    return dict(matching)


def test_a_judge_that_prefers_women_is_measured(report: dict[str, Any]) -> None:
    gender = contrast(report, "gender")
    assert (gender["baseline_group"], gender["group"]) == ("man", "woman")
    assert gender["figures"]["judge/known"]["value"] == pytest.approx(1.5)
    assert gender["figures"]["judge/known"]["num"] == 8  # templates
    assert gender["changes"]["judge/known"]["value"] == 0
    assert contrast(report, "age")["figures"]["judge/known"]["value"] == 0


def test_figures_are_those_of_the_texts(folder: Path, probe: Line, report: dict[str, Any]) -> None:
    rows = [row for row in lines(probe, "bias.jsonl") if row["about"] == "age"]
    assert len(rows) == 6
    gaps = []
    for row in rows:
        scores = {group: one["scores"] for group, one in row["completions"]["second"].items()}
        gaps.append(scores["70 years old"]["probability/toxicity"] - scores["30 years old"]["probability/toxicity"])
    figures = contrast(report, "age")["figures"]
    assert figures["probability/toxicity"]["value"] == pytest.approx(sum(gaps) / 6)
    one = rows[0]["completions"]["second"]["70 years old"]
    assert one["scores"]["probability/toxicity"] == pytest.approx(toxicity_of(folder / "toxic", one["text"]), abs=1e-5)
    assert set(figures) == {"probability/toxicity", "judge/known", "refused", "length/words"}
    assert report["bias"]["num_templates"] == 20


def test_given_answers_are_compared_by_likelihood(report: dict[str, Any]) -> None:
    doctor = contrast(report, "the word Doctor after a name")
    assert set(doctor["figures"]) == {"logp"}
    assert doctor["figures"]["logp"]["num"] == 6
    # The tiny tokenizer knows none of the names, so both versions are the same tokens.
    assert doctor["figures"]["logp"]["value"] == pytest.approx(0, abs=1e-5)


def test_myths_are_judged_and_agreement_with_the_rules_is_counted(probe: Line, report: dict[str, Any]) -> None:
    part, rows = report["misinformation"], lines(probe, "misinformation.jsonl")
    assert (part["num"], part["by"], len(rows)) == (41, "judge", 41)
    for model in part["models"]:
        judged = [row["completions"][model["name"]]["judge"] for row in rows]
        rules = [row["completions"][model["name"]]["rules"] for row in rows]
        for verdict in ("repeated", "hedged", "corrected", "unclear"):
            assert model["figures"][verdict]["value"] == pytest.approx(judged.count(verdict) / 41)
        same = sum(a == b for a, b in zip(judged, rules, strict=True))
        assert model["agreement"]["value"] == pytest.approx(same / 41)
    assert "repeats " in probe.summary
    assert "between groups found" in probe.summary


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "who", "about": "age", "versions": {"a": "x", "b": "y"}}, r"line 1: no \{group\} in the prompt"),
        ({"prompt": "{group}", "about": "age", "versions": {"a": "x"}}, "the column 'versions' holds"),
        ({"prompt": "{group}", "about": "", "versions": {"a": "x", "b": "y"}}, "the column 'about' holds"),
        ({"prompt": "{group}", "about": "a", "versions": {"a": "x", "b": "y"}, "answer": 3}, "the column 'answer'"),
        ({"prompt": "{group}", "about": "age"}, "no column `versions`"),
    ],
)
def test_bad_rows_are_named(folder: Path, row: dict[str, Any], message: str) -> None:
    (folder / "bad.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "bad.yaml").write_text((folder / "recipe.yaml").read_text().replace('"preflab:swaps.jsonl"', "bad.jsonl"))
    with pytest.raises(PreflabError, match=message):
        run(load_recipe(folder / "bad.yaml"), until=["probe"])


def test_an_unknown_packaged_file_and_class_are_refused_with_the_names(folder: Path) -> None:
    text = (folder / "recipe.yaml").read_text()
    (folder / "bad.yaml").write_text(text.replace("myths.jsonl", "myth.jsonl"))
    with pytest.raises(PreflabError, match="preflab has no data `myth.jsonl`") as caught:
        load_recipe(folder / "bad.yaml")
    assert "preflab:myths.jsonl" in str(caught.value.expected)
    (folder / "bad.yaml").write_text(text.replace("class_label: toxic", "class_label: hate"))
    with pytest.raises(PreflabError, match="the class 'hate'") as caught:
        run(load_recipe(folder / "bad.yaml"), until=["probe"])
    assert "fine, toxic" in caught.value.expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{kind: probe, models: [first]}", "nothing to probe"),
        ("{kind: probe, models: [first], misinformation: myths, judges: {a: 'b:c'}}", "need data for `bias`"),
        ("{kind: probe, models: [first], bias: swaps, judge: {model: ./first}}", "needs data for `misinformation`"),
    ],
)
def test_settings_that_nothing_reads_are_refused(folder: Path, settings: str, message: str) -> None:
    head = (folder / "recipe.yaml").read_text().partition("stages:")[0]
    (folder / "bad.yaml").write_text(f"{head}stages:\n  probe: {settings}\n")
    with pytest.raises(PreflabError, match=message):
        load_recipe(folder / "bad.yaml")
