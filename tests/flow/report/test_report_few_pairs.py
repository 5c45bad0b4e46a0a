"""What the report says of a reward model that was measured on very few pairs, or on pairs that lean one way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import report_runs
from preflab.report.page import build_report
from preflab.report.reward_model import ENOUGH_PAIRS


def page_with(folder: Path, **changed: Any) -> str:
    """The report of a reward run whose figures on held-out pairs were changed."""
    run = report_runs.reward_run(folder / "runs")
    report = json.loads((run / "reward_report.json").read_text(encoding="utf-8"))
    report["held_out"] |= changed
    (run / "reward_report.json").write_text(json.dumps(report), encoding="utf-8")
    return build_report([run], base=folder)


def test_few_pairs_make_no_headline(tmp_path: Path) -> None:
    page = page_with(tmp_path, num_pairs=2, num_prompts=2)
    assert "of held-out pairs, but 2 pairs are too few to say how good it is" in page
    assert "than people agree" not in page
    assert "Right on" not in page
    assert "confidence σ" not in page


def test_enough_pairs_are_compared(tmp_path: Path) -> None:
    page = page_with(tmp_path, num_pairs=ENOUGH_PAIRS)
    assert "as often as people agree" in page
    assert "confidence σ" in page


def test_much_shorter_is_said_only_where_it_is(tmp_path: Path) -> None:
    right = report_runs.estimate(0.7, 0.1, 30)
    longer_alone = [
        {"from": 3, "to": 5, "num": 30, "accuracy": right},
        {"from": 6, "to": 9, "num": 30, "accuracy": right},
    ]
    page = page_with(tmp_path, by_length=longer_alone)
    assert "where the chosen one is shortest" in page
    assert "much shorter" not in page


def test_a_reward_model_at_chance_is_said_so_and_decides_nothing(tmp_path: Path) -> None:
    guess = {"value": 0.33, "low": 0.0, "high": 1.0, "num": 6, "note": ""}
    said = "no better than chance as far as 6 held-out pairs can tell"
    alone = page_with(tmp_path / "alone", num_pairs=6, num_prompts=6, accuracy=guess)
    assert f"of held-out pairs as the labelers did: {said}." in alone
    folders = [report_runs.reward_run(tmp_path / "runs"), report_runs.evaluate_run(tmp_path / "runs")]
    report, evaluation = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for folder, name in zip(folders, ("reward_report.json", "evaluation.json"), strict=True)
    )
    report["held_out"] |= {"num_pairs": 6, "num_prompts": 6, "accuracy": guess}
    for entry in evaluation["comparisons"]:
        entry["differences"] = {"reward/rm": entry["differences"]["reward/rm"]}
    (folders[0] / "reward_report.json").write_text(json.dumps(report), encoding="utf-8")
    (folders[1] / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    page = build_report(folders, base=tmp_path)
    assert "Not known: ppo scores 1.22 higher than sft on rm (reward model)" in page
    assert f"But rm (reward model) is {said}." in page
    assert "Yes:" not in page
