"""The report of a recipe with rounds: both beside one another, each figure that of its round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preflab.report.blocks import Table
from preflab.report.page import build_report
from preflab.report.rounds import rounds_section
from preflab.report.run_folders import Page, Run
from report_runs import estimate, ppo_rows, quality, share, write_run


def round_of(runs: Path, ending: str, agreement: float, accuracy: float, judgments: int) -> list[Path]:
    """Preferences, a reward model and a policy of one round."""
    found = {
        "simulated": False, "consensus": "one_coin_em", "fail_share": 0.5, "num_judgments": judgments, "num_tasks": 40,
        "agreement": share(agreement, 0.05), "ties": share(0.1, 0.02), "fails": share(0.05, 0.01),
        "labelers": [], "pairs": {"num_preferences": 40, "num_resolved": judgments + 1, "num_unresolved": 3,
                                  "num_failed_completions": 2, "num_without_pairs": 0},
    }  # fmt: skip
    report = {"model": "sft", "held_out": quality(accuracy, 0.55), "train": None, "test": None}
    rows = ppo_rows(20, reward=1.0, kl=3.0, gold_peak=0.5, entropy=1.5, seed=1)
    return [
        write_run(runs, f"prefs{ending}", "preferences", seconds=1, summary="", files={"agreement.json": found}),
        write_run(runs, f"rm{ending}", "reward", seconds=1, summary="", files={"reward_report.json": report}),
        write_run(runs, f"ppo{ending}", "ppo", seconds=1, summary="", lines={"metrics.jsonl": rows}),
    ]


def evaluated(runs: Path) -> Path:
    models = [
        {"name": name, "figures": {"judge/gold": estimate(value, 0.1)}, "num_completions": 20}
        for name, value in (("sft", 0.1), ("ppo@1", 0.5), ("ppo@2", 0.9))
    ]
    content: dict[str, Any] = {"schema": 1, "models": models, "comparisons": []}
    return write_run(runs, "eval", "evaluate", seconds=1, summary="", files={"evaluation.json": content})


def page_of(folders: list[Path], base: Path) -> Page:
    return Page([Run.read(folder) for folder in folders], base)


def test_rounds_stand_side_by_side(tmp_path: Path) -> None:
    folders = round_of(tmp_path, "", 0.66, 0.7, 120) + round_of(tmp_path, "@2", 0.71, 0.8, 150) + [evaluated(tmp_path)]
    section = rounds_section(page_of(folders, tmp_path))
    assert section is not None
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert list(table.head) == ["", "round 1", "round 2"]
    rows = {str(row[0].text): [str(cell.text) for cell in row[1:]] for row in table.rows}
    assert rows["judgments"] == ["120", "150"]
    assert rows["pairs to learn from"] == ["121", "151"]
    assert rows["two labelers agree"][0].startswith("66")
    assert rows["two labelers agree"][1].startswith("71")
    assert rows["reward model right on held-out pairs"][1].startswith("80")
    assert all("→" in cell for cell in rows["reward while training"])
    judged = next(cells for name, cells in rows.items() if "gold" in name)
    assert [cell[:3] for cell in judged] == ["0.5", "0.9"]


def test_one_round_needs_no_section_of_its_own(tmp_path: Path) -> None:
    assert rounds_section(page_of(round_of(tmp_path, "", 0.66, 0.7, 120), tmp_path)) is None


def test_a_round_that_waits_for_people_is_shown_as_far_as_it_came(tmp_path: Path) -> None:
    folders = round_of(tmp_path, "", 0.66, 0.7, 120) + round_of(tmp_path, "@2", 0.71, 0.8, 150)[:1]
    section = rounds_section(page_of(folders, tmp_path))
    assert section is not None
    (table,) = section.blocks
    assert isinstance(table, Table)
    rows = {str(row[0].text): [str(cell.text) for cell in row[1:]] for row in table.rows}
    assert rows["reward model right on held-out pairs"][1] == ""


def test_it_is_on_the_page(tmp_path: Path) -> None:
    folders = round_of(tmp_path, "", 0.66, 0.7, 120) + round_of(tmp_path, "@2", 0.71, 0.8, 150)
    assert "Results of each round" in build_report(folders, base=tmp_path)
