"""A report links to the simulators that were made from its runs."""

from __future__ import annotations

from pathlib import Path

from preflab.report.page import build_report
from report_runs import ppo_run, write_run


def test_report_links_to_a_simulator(tmp_path: Path) -> None:
    simulator = write_run(tmp_path / "runs", "simulator", "simulate", seconds=20, summary="3,200 samples of 5 policies")
    (simulator / "simulator.html").write_text("<html></html>", encoding="utf-8")
    page = build_report([ppo_run(tmp_path / "runs"), simulator], base=tmp_path)
    assert f'href="runs/{simulator.name}/simulator.html"' in page
    assert "simulator: 3,200 samples of 5 policies." in page
    assert '<a href="#simulator">Try it</a>' in page


def test_report_without_the_page_has_no_section(tmp_path: Path) -> None:
    simulator = write_run(tmp_path / "runs", "simulator", "simulate", seconds=20, summary="nothing")
    assert "Try it" not in build_report([ppo_run(tmp_path / "runs"), simulator], base=tmp_path)
