"""What the report says of a campaign's pairs and of its agreement."""

from __future__ import annotations

import re
from pathlib import Path

import report_runs
from preflab.report.page import build_report


def test_open_pairs_and_coefficients_are_shown(tmp_path: Path) -> None:
    page = build_report(report_runs.feedback_runs(tmp_path / "runs"), title="Labels", base=tmp_path)
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for row in ("pairs to learn from 640", "of these decided by an adjudicator 4", "an adjudicator 31",
                "pairs called equal 40", "even splits that other pairs settle 9"):  # fmt: skip
        assert row in text, row
    assert re.search(r"tau-b between two rankings, mean 0\.41", text)
    assert "alpha of the F marks, nominal undefined: no variation" in text
