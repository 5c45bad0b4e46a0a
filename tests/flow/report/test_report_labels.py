"""What the report says of a campaign's pairs and of its agreement."""

from __future__ import annotations

import re
from pathlib import Path

import report_runs
from preflab.report.feedback import _reliability_title
from preflab.report.page import build_report


def test_open_pairs_and_coefficients_are_shown(tmp_path: Path) -> None:
    page = build_report(report_runs.feedback_runs(tmp_path / "runs"), title="Labels", base=tmp_path)
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for row in ("pairs to learn from 640", "of these decided by an adjudicator 4", "an adjudicator 31",
                "pairs called equal 40", "even splits decided by other pairs 9"):  # fmt: skip
        assert row in text, row
    assert re.search(r"tau-b between two rankings, mean 0\.41", text)
    assert "alpha of the F marks, nominal undefined: no variation" in text


def row(standing: str) -> dict[str, object]:
    return {"name": "amber", "reliability": 0.8, "weight": 1.0, "num_votes": 20, "standing": standing}


def test_nobody_is_called_in_line_of_whom_too_little_is_known() -> None:
    early, fine, odd = row("too few tasks to say"), row("in line"), row("careless?")
    assert (
        _reliability_title([early, early], [], "labelers") == "Too few tasks yet to say who of 2 labelers stands apart"
    )
    assert _reliability_title([fine, fine], [], "labelers") == "All 2 labelers are in line"
    assert _reliability_title([fine, early, odd], [odd], "labelers") == "1 of 3 labelers stands out"
