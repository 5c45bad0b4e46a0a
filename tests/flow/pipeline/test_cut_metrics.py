"""What a finished stage left is known by its number of rows: files that lost some are named where they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflab import pipeline
from preflab.files import count_rows, describe_cut_files
from preflab.recipe import load_recipe
from preflab.report.page import build_report
from report_runs import ppo_rows, write_run
from toy_stages import Writer

ROWS = ppo_rows(30, reward=1.0, kl=2.0, gold_peak=0.6, entropy=1.5, seed=0)


def cut(path: Path, rows: int, *, torn: bool = False) -> None:
    """Leave so many rows in a file, and half of the next one."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:rows]) + (lines[rows][:9] if torn else ""))


def test_the_table_of_stages_names_it(write_recipe: Writer) -> None:
    path = write_recipe("stages:\n  base: {kind: grow, num_steps: 3}\n")
    (first,) = pipeline.run(load_recipe(path))
    metrics = first.folder / "metrics.jsonl"
    metrics.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(5)))
    (line,) = pipeline.show(load_recipe(path))
    assert "cut" not in line.summary, "a manifest of another version says nothing of rows"
    (line,) = pipeline.run(load_recipe(path, ["stages.base.num_steps=6"]))
    assert json.loads((line.folder / "manifest.json").read_text())["rows"] == {"metrics.jsonl": 5}
    assert line.summary == "6 lines"
    for rows, torn in ((4, False), (2, True), (0, True)):
        cut(metrics, rows, torn=torn)
        (line,) = pipeline.show(load_recipe(path, ["stages.base.num_steps=6"]))
        assert line.summary == f"6 lines; metrics cut: {rows} of 5 rows"
        metrics.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(5)))
    metrics.unlink()
    (line,) = pipeline.show(load_recipe(path, ["stages.base.num_steps=6"]))
    assert line.summary == "6 lines; metrics cut: 0 of 5 rows"


@pytest.mark.parametrize(("rows", "torn"), [(30, False), (12, False), (12, True), (0, False)])
def test_the_report_names_it(tmp_path: Path, rows: int, torn: bool) -> None:
    folder = write_run(tmp_path, "ppo", "ppo", seconds=9.0, summary="", lines={"metrics.jsonl": ROWS})
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"rows": count_rows(folder)}))
    cut(folder / "metrics.jsonl", rows, torn=torn)
    page = build_report([folder])
    assert ("cut:" in page) is (rows < 30)
    assert rows == 30 or f"metrics cut: {rows} of 30 rows; the figures below" in page


def test_a_manifest_without_numbers_says_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "ppo", "ppo", seconds=9.0, summary="", lines={"metrics.jsonl": ROWS})
    cut(folder / "metrics.jsonl", 3)
    assert "cut:" not in build_report([folder])
    assert describe_cut_files(folder, {}) == []
