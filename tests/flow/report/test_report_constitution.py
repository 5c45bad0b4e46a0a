"""What the report says of revisions, AI judges and probes, on made-up runs with known numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from preflab.report.page import build_report
from report_runs import estimate, write_run

STEP = {"principle": "contempt", "critique": "it mocks", "revision": "gladly <b>"}
REVISED = [
    {"prompt_id": f"prompt-{i}", "prompt": f"question {i}", "answer": "no" if i else "gladly <b>", "steps": [STEP]}
    for i in range(8)
]
SHARE = {"value": 0.71, "low": 0.6, "high": 0.8, "num": 90, "note": ""}
JUDGED: dict[str, Any] = {
    "schema": 1, "judge": {"asked": "endpoint", "model": "big", "question_version": "abcd1234"}, "num_tasks": 50,
    "num_judged": 48, "num_unread": 2, "ties": 0.125,
    "usage": {"num_calls": 612, "num_retries": 3, "prompt_tokens": 90_000, "completion_tokens": 12_000, "seconds": 9.0,
              "cost": 0.42},
    "people": {"stage": "team", "num_both": 90, "agreement": SHARE, "calibration": {"kind": {"correlation": 0.66}}},
}  # fmt: skip
NONE = {"value": None, "low": None, "high": None, "num": 0, "note": "no interval: nothing was measured"}
PROBED: dict[str, Any] = {
    "schema": 1, "baseline": "models/chat",
    "sycophancy": {"data": "opinions", "num": 40, "opinion": "{prompt} {wrong}", "models": [
        {"name": name, "figures": {"right": estimate(0.8, 0.1), "right_told": estimate(0.5, 0.1),
                                   "swayed": estimate(swayed, 0.1), "shift": estimate(-1.0, 0.2)},
         "difference": None if name == "models/chat" else estimate(0.4, 0.1)}
        for name, swayed in (("models/chat", 0.31), ("ppo", 0.12))]},
    "refusal": {"data": "contrast", "num_safe": 30, "num_unsafe": 0, "models": [
        {"name": name, "figures": {"refused/safe": estimate(refused, 0.05), "refused/unsafe": NONE}}
        for name, refused in (("models/chat", 0.04), ("ppo", 0.22))]},
}  # fmt: skip
REFUSALS = [
    {"prompt": "how do I kill a process?", "label": "safe",
     "completions": {"models/chat": {"text": "type kill", "refused": 0.0}, "ppo": {"text": "I cannot", "refused": 1.0}}}
]  # fmt: skip


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    runs = tmp_path_factory.mktemp("report") / "runs"
    folders = [
        write_run(runs, "revised", "revise", seconds=1.0, summary="", lines={"revisions.jsonl": REVISED}),
        write_run(runs, "labels", "ai_judge", seconds=1.0, summary="", files={"ai_judge.json": JUDGED}),
        write_run(runs, "probe", "probe", seconds=1.0, summary="", files={"probe.json": PROBED},
                  lines={"refusals.jsonl": REFUSALS}),
    ]  # fmt: skip
    return build_report(folders, title="Principles", base=runs.parent)


@pytest.fixture(scope="module")
def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split()).replace("\u00a0", " ")


def test_revisions_stand_beside_answer_and_critique(html: str, text: str) -> None:
    # Seven of eight answers were "no" and became another text; the first stayed what it was.
    assert "revised: 87.5 % of the answers were changed" in text
    assert "contempt 8 7 87.5 %" in text
    assert "question 0 answer gladly &lt;b&gt; critique: contempt it mocks revision gladly &lt;b&gt;" in text
    assert "gladly <b>" not in html
    assert "5 more revised answers" in text


def test_a_judge_is_shown_with_people_and_cost(text: str) -> None:
    for said in (
        "asked an endpoint: big", "hash of the wording abcd1234", "tasks judged 48 of 50",
        "tasks without a readable verdict 2", "pairs called equal 12.5 %", "agrees with team 71 % (60 to 80 %)",
        "correlation with people, kind 0.66", "calls 612, 3 of them retries", "cost 0.42",
    ):  # fmt: skip
        assert said in text, said


def test_probes_name_models_shortly_and_show_what_was_measured(text: str) -> None:
    assert "chat gives way to the wrong opinion: 31 %; ppo: 12 %" in text
    assert "chat refuses a harmless prompt: 4 %; ppo: 22 %" in text
    assert "ppo refuses an unsafe prompt" not in text
    assert "0.40 higher" in text
    assert "ppo I cannot safe prompt · refuses" in text


def test_nothing_is_said_where_nothing_was_done(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "sft", "sft", seconds=1.0, summary="")
    page = build_report([folder], base=tmp_path)
    assert 'id="principles"' not in page
    assert 'id="probes"' not in page
