"""The report's verdict by a classifier, and the parts about groups and myths, from made-up run folders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import report_runs
from preflab.report.page import build_report
from report_runs import estimate

HOSTILE = "</p></style><script>alert(1)</script><img src=x onerror=alert(2)>"


def visible(html: str) -> str:
    text = re.sub(r"<(style|script)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("\u00a0", " ").split())


def page_by_classifier(tmp_path: Path, change: float, better: str = "lower", reward: str = "rm") -> str:
    """sft against ppo by a classifier alone; `change` is the mean toxicity of ppo minus that of sft, ± 0.05."""
    runs = tmp_path / "runs"
    folders = [report_runs.ppo_run(runs), report_runs.evaluate_run(runs)]
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    manifest["settings"]["rewards"] = [{"model": reward}]
    (folders[0] / "manifest.json").write_text(json.dumps(manifest))
    evaluation = json.loads((folders[1] / "evaluation.json").read_text())
    about = {"model": "judge-clf", "class_label": "hate", "threshold": 0.5, "better": better}
    figures = {
        "sft": {"probability/toxicity": estimate(0.5, 0.05), "above/toxicity": estimate(0.4, 0.05)},
        "ppo": {"probability/toxicity": estimate(0.5 + change, 0.05), "above/toxicity": estimate(0.1, 0.05)},
        "human": {"probability/toxicity": estimate(0.1, 0.05)},
    }
    differences = {
        "human": {"probability/toxicity": estimate(-0.4, 0.05)},
        "ppo": {"probability/toxicity": estimate(change, 0.05), "above/toxicity": estimate(-0.3, 0.05)},
    }
    evaluation |= {
        "judges": {}, "classifiers": {"toxicity": about}, "human": "human", "frontier": [], "tilted": None,
        "models": [{"name": name, "figures": measured, "num_completions": 200} for name, measured in figures.items()],
        "comparisons": [
            {"model": name, "baseline": "sft", "differences": measured} for name, measured in differences.items()
        ],
    }  # fmt: skip
    (folders[1] / "evaluation.json").write_text(json.dumps(evaluation))
    return build_report(folders, base=tmp_path)


@pytest.mark.parametrize(
    ("change", "better", "verdict"),
    [
        (-0.3, "lower", "Yes: ppo scores 0.30 lower than sft on mean toxicity"),
        (0.3, "lower", "No: ppo scores 0.30 higher than sft on mean toxicity"),
        (0.3, "higher", "Yes: ppo scores 0.30 higher than sft on mean toxicity"),
        (0.01, "lower", "No difference found between ppo and sft on mean toxicity"),
    ],
)
def test_a_classifier_decides_in_its_own_direction(change: float, better: str, verdict: str, tmp_path: Path) -> None:
    text = visible(page_by_classifier(tmp_path, change, better))
    assert verdict in text
    assert "toxicity above the threshold 40 % → 10 %" in text
    assert "probability of the class hate by judge-clf, threshold 0.5" in text


@pytest.mark.parametrize(
    ("measure", "verdict"),
    [
        ("fail/gold", "No: ppo scores 30 points higher than sft on F by gold"),
        ("label/rude", "Not known: ppo scores 30 points higher than sft on rude"),
    ],
)
def test_a_measure_decides_in_its_own_direction_or_not_at_all(measure: str, verdict: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folders = [report_runs.ppo_run(runs), report_runs.evaluate_run(runs)]
    evaluation = json.loads((folders[1] / "evaluation.json").read_text())
    evaluation["primary"] = measure
    evaluation["comparisons"][0]["differences"][measure] = estimate(0.3, 0.05)
    (folders[1] / "evaluation.json").write_text(json.dumps(evaluation))
    assert verdict in visible(build_report(folders, base=tmp_path))


def test_a_classifier_that_was_the_reward_decides_nothing(tmp_path: Path) -> None:
    text = visible(page_by_classifier(tmp_path, -0.3, reward="judge-clf"))
    assert "Not known: ppo scores 0.30 lower than sft on mean toxicity" in text
    assert "That is the reward it was trained on" in text


def test_people_are_compared_but_are_no_model(tmp_path: Path) -> None:
    text = visible(page_by_classifier(tmp_path, -0.3))
    before, after = text.split("Before and after", 1)
    assert "human" not in before
    assert "All differences, human minus sft" in after


def probe_page(tmp_path: Path, text: str) -> str:
    """A probe of two models with one contrast of groups and one myth; `text` is every text that a model wrote."""
    contrast = {"about": "gender", "group": "woman", "baseline_group": "man"}
    figures = {"judge/tone": estimate(0.2, 0.1, 8), "refused": estimate(0.0, 0.1, 8)}
    shares = {name: estimate(0.25, 0.1, 41) for name in ("repeated", "hedged", "corrected", "unclear")}
    report: dict[str, Any] = {
        "schema": 1, "baseline": "sft", "sycophancy": None, "refusal": None,
        "bias": {
            "data": "swaps", "num": 24, "num_templates": 8, "notes": [],
            "models": [
                {"name": "sft", "contrasts": [{**contrast, "figures": figures, "changes": {}}]},
                {"name": "ppo", "contrasts": [{**contrast, "figures": figures, "changes": figures}]},
            ],
        },
        "misinformation": {
            "data": "myths", "num": 41, "by": "judge",
            "models": [
                {"name": "sft", "figures": shares, "changes": {}, "agreement": estimate(0.8, 0.1, 41)},
                {"name": "ppo", "figures": shares, "changes": shares, "agreement": estimate(0.9, 0.1, 41)},
            ],
        },
    }  # fmt: skip
    answer = {"text": text, "rules": "unclear", "judge": "corrected"}
    swapped = {"man": {"text": text, "scores": {"judge/tone": 1.0}}, "woman": {"text": text, "scores": {}}}
    lines = {
        "bias.jsonl": [
            {"template": text, "about": "gender", "versions": {}, "completions": {"sft": swapped, "ppo": swapped}}
        ],
        "misinformation.jsonl": [
            {"prompt": text, "myth": text, "right": text, "topic": "", "completions": {"sft": answer, "ppo": answer}}
        ],
    }
    folder = report_runs.write_run(
        tmp_path / "runs", "probe", "probe", seconds=1.0, summary="done", lines=lines, files={"probe.json": report}
    )
    return build_report([folder], base=tmp_path)


def test_groups_and_myths_have_charts_tables_and_samples(tmp_path: Path) -> None:
    text = visible(probe_page(tmp_path, "a wing"))
    assert "sft: 1 of 1 difference between groups found, tone (judge)" in text
    assert "Mean over 24 rows in 8 templates (swaps)" in text
    assert "woman − man" in text
    assert "0.20 higher" in text  # the change of ppo against sft
    assert "Completions of the swapped prompts" in text
    assert "41 questions with a myth or a false premise (myths); verdicts by an AI judge" in text
    assert (
        "Judge and rules agree on these shares of the answers: sft 80 % (70 to 90 %), ppo 90 % (80 to 100 %)." in text
    )
    assert "25 points higher" in text


def test_texts_of_probes_are_inert(tmp_path: Path) -> None:
    page = probe_page(tmp_path, HOSTILE)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "alert(1)" in page
