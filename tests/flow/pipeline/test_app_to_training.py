"""Likert scores and thumbs given in the labelling app reach a rating model and KTO without a step by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import list_campaigns
from preflab.labelling.shown_tasks import Turn
from preflab.labelling.submissions import Submission, submit
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.records import Answer, LikertAnswer, ThumbsAnswer
from preflab.store.snapshots import read_snapshot
from preflab.store.workspace import Workspace

WORDS = "red green blue small large old new warm cold dry wet soft hard".split()  # noqa: SIM905
RECIPE = """
recipe: 1
data:
  corpus: {path: corpus.jsonl}
  prompts: {path: prompts.jsonl}
stages:
  base: {kind: tiny, text: corpus, num_layers: 1, hidden_size: 32, num_heads: 2, context: 32, num_steps: 5}
  answers: {kind: sample, model: base, prompts: prompts, num_completions: 2, max_new_tokens: 6}
  labels: {kind: judge, completions: answers, overlap: 2, WAY}
  prefs: {kind: preferences, judgments: labels}
  learned: {LEARNED}
"""
LIKERT = ("way: likert, criteria: [warmth]", "kind: rating, model: base, preferences: prefs, held_out: 0.25")
THUMBS = (
    "way: thumbs",
    "kind: dpo, model: base, preferences: prefs, losses: [{kind: kto}], held_out: 0.25, watch: {num_samples: 0}",
)


def many_letters(text: str) -> int:
    return min(5, 1 + len(text) // 8)


def likert(turn: Turn) -> Answer:
    return LikertAnswer({"warmth": tuple(many_letters(c.text) for c in turn.completions)})


def thumbs(turn: Turn) -> Answer:
    return ThumbsAnswer(tuple(len(c.text) % 2 == 0 for c in turn.completions))


def recipe_in(folder: Path, way: str, learned: str) -> Path:
    corpus = [{"text": " ".join(WORDS[i : i + 7])} for i in range(7)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (folder / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": f"{a} {b}"}) + "\n" for a, b in zip(WORDS, WORDS[3:], strict=False))
    )
    (folder / "recipe.yaml").write_text(RECIPE.replace("WAY", way).replace("LEARNED", learned))
    return folder / "recipe.yaml"


def label_everything(folder: Path, answer: Callable[[Turn], Answer]) -> int:
    """Two people take every task the app hands out; how many judgments that were."""
    num = 0
    with Workspace.open(folder) as workspace:
        (view,) = list_campaigns(workspace)
        for who in ("Ann", "Bo"):
            labeler = create_account(workspace, who, "labeler").labeler_id
            while (turn := next_turn(workspace, view.campaign.id, labeler)) is not None:
                key = f"{who}-{turn.task.id}"
                submit(workspace, Submission(key, turn.task.id, labeler, turn.revision, answer(turn), 4000))
                num += 1
    return num


@pytest.mark.parametrize(("settings", "answer"), [(LIKERT, likert), (THUMBS, thumbs)], ids=["likert", "thumbs"])
def test_the_same_command_goes_on_when_people_have_answered(
    tmp_path: Path, settings: tuple[str, str], answer: Callable[[Turn], Answer]
) -> None:
    path = recipe_in(tmp_path, *settings)
    lines = {line.name: line for line in run(load_recipe(path))}
    assert lines["labels"].state == "waiting"
    assert "0 of 10 tasks have 2 labels" in lines["labels"].summary
    assert label_everything(tmp_path, answer) == 20
    lines = {line.name: line for line in run(load_recipe(path))}
    assert [lines[name].state for name in ("labels", "prefs", "learned")] == ["done"] * 3
    preferences = read_snapshot(lines["prefs"].folder / "snapshot").preferences
    assert len(preferences) == 10
    if answer is likert:
        assert all(len(p.scores["warmth"]) == 2 for p in preferences)
        assert_rating(lines["learned"])
    else:
        assert {value for p in preferences for value in p.thumbs} <= {0.0, 1.0}
        assert "loss/total" in (lines["learned"].folder / "metrics.jsonl").read_text()


def assert_rating(line: Line) -> None:
    report = json.loads((line.folder / "reward_report.json").read_text())
    assert report["criteria"]["warmth"]["weight"] == 1.0
    assert 1 <= report["criteria"]["warmth"]["mean"] <= 5
