"""The report on a run with an environment: rollouts as dialogues, numbers without NaN, metrics with names."""

from __future__ import annotations

import json
import math
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import report_runs
from preflab.report.dialogues import LAST, dialogue_turns, kl_sum
from preflab.report.page import build_report
from replay_runs import dialogue, write_step


def talking_run(runs: Path, rows: list[dict[str, Any]]) -> Path:
    """A PPO run whose kept rollouts are dialogues."""
    folder = report_runs.ppo_run(runs)
    shutil.rmtree(folder / "rollouts")
    write_step(folder / "rollouts", 1, rows)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for number, row in enumerate(metrics):
        row |= {"reward/environment": 1.0 + number, "reward/environment/num_turns": 2.0, "reward/environment/won": 0.5}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    return folder


def kl(*values: float | None) -> list[float]:
    return [math.nan if value is None else value for value in values]


def test_rollouts_are_shown_as_dialogues(tmp_path: Path) -> None:
    """KL of the policy's tokens 0.5, 0.25, 0 and 1, 0: together 1.75; the darkest token is that with 1."""
    row = dialogue(1, 0, kl=kl(0.5, 0.25, 0.0, *[None] * 8, 1.0, 0.0), last_turn="<b>right</b>")
    page = build_report([talking_run(tmp_path / "runs", [row])], base=tmp_path)
    shown = page[page.index('<ol class="dialogue">') : page.index("</ol>", page.index('<ol class="dialogue">'))]
    items = [" ".join(unescape(re.sub("<[^>]*>", "", item)).split()) for item in shown.split("<li")[1:]]
    items = [item.partition(">")[2].strip() for item in items]
    assert items == [
        "Policy hello . reward 0.5",
        "Environment what is 2 + 2 ?",
        "Policy four reward 2",
        f"{LAST} <b>right</b>",
    ]
    assert "&lt;b&gt;right" in shown
    assert re.findall(r"--share:([\d.]+)", shown) == ["0.50", "0.25", "0.00", "1.00", "0.00"]
    assert "2 turns · KL 1.8 nats" in page
    assert "nan" not in re.sub("<style.*?</style>", "", page, flags=re.DOTALL).lower().split()


def test_metrics_of_the_environment_have_names(tmp_path: Path) -> None:
    page = build_report([talking_run(tmp_path / "runs", [dialogue(1, 0)])], base=tmp_path)
    assert "The reward of the environment" in page
    assert "The number of turns" in page
    assert "turns of the policy in a dialogue" in page
    assert "`won` of the environment&#39;s last reply" in page


def test_turns_without_matching_tokens_are_not_shaded() -> None:
    row = dialogue(0, 0, turns=["one", "two", "three", "four", "five"])
    turns = dialogue_turns(row)
    assert [turn.text for turn in turns] == ["one", "two", "three", "four", "five", "right"]
    assert [turn.mine for turn in turns] == [True, False, True, False, True, False]
    assert dialogue_turns({"turns": ["one"], "written": [True], "last_turn": ""}) == []
    assert [turn.text for turn in dialogue_turns({"turns": ["one"], "written": [True], "last_turn": "bye"})] == [
        "one",
        "bye",
    ]
    assert kl_sum({"kl": kl(0.5, None, 0.25)}) == 0.75
