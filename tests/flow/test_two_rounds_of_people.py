"""The loop closed twice with people (R24): a tiny model's completions, a campaign, a new policy, and again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflab.labelling.accounts import Account, create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import CampaignView, list_campaigns
from preflab.labelling.submissions import Submission, submit
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.records import RankingAnswer
from preflab.store.workspace import Workspace

WORDS = [
    "my",
    "parcel",
    "lamp",
    "clock",
    "is",
    "here",
    "today",
    "soon",
    "please",
    "wait",
    "on",
    "friday",
    "now",
    "late",
    "thanks",
]
RECIPE = """
recipe: 1
data:
  corpus: {path: corpus.jsonl}
  prompts: {path: prompts.jsonl}
stages:
  base: {kind: tiny, text: corpus, num_layers: 1, hidden_size: 32, num_heads: 2, context: 24, num_steps: 5}
  answers: {kind: sample, model: base, prompts: prompts, num_completions: 2, max_new_tokens: 6}
  labels: {kind: judge, completions: answers, overlap: 2}
  prefs: {kind: preferences, judgments: labels}
  rm: {kind: reward, model: base, preferences: prefs, num_epochs: 1, held_out: 0.25, lora: {rank: 2}}
  ppo: {kind: ppo, model: base, prompts: prompts, rewards: [{model: rm}], num_steps: 2, num_completions_per_step: 4,
        decoding: {max_new_tokens: 6}, lora: {rank: 2}, run: {save_every: 2}}
  report: {kind: report, of: [rm, ppo]}
rounds: {num: 2, repeat: [answers, labels, prefs, rm, ppo]}
"""


def prepared(folder: Path) -> Path:
    texts = [{"text": " ".join(WORDS[i : i + 6])} for i in range(len(WORDS))]
    prompts = [{"prompt": f"my {word} is"} for word in WORDS[:8]]
    for name, rows in (("corpus", texts), ("prompts", prompts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"


def answer(store: Workspace, people: list[Account]) -> int:
    """Both people rank what the app hands them, the text with more different words first."""
    campaign = list_campaigns(store)[0].campaign
    num = 0
    for person in people:
        while (turn := next_turn(store, campaign.id, person.labeler_id)) is not None:
            worth = [len(set(completion.text.split())) for completion in turn.completions]
            ranks = tuple(1 + sum(other > own for other in worth) for own in worth)
            if len(set(worth)) == 1:
                ranks = (1, 2)
            key, given = f"{person.id}-{turn.task.id}", RankingAnswer(ranks)
            submit(store, Submission(key, turn.task.id, person.labeler_id, 0, given))
            num += 1
    return num


@pytest.mark.slow
def test_the_aligned_models_completions_become_the_next_campaign(tmp_path: Path) -> None:
    recipe = load_recipe(prepared(tmp_path))
    lines = {line.name: line for line in run(recipe)}
    assert (lines["labels"].state, lines["ppo"].state, lines["labels@2"].state) == ("waiting", "–", "–")
    with Workspace.open(tmp_path) as store:
        people = [create_account(store, name, "labeler") for name in ("ann", "bob")]
        assert answer(store, people) == 16

    lines = {line.name: line for line in run(recipe)}
    assert (lines["ppo"].state, lines["answers@2"].state) == ("done", "done")
    assert (lines["labels@2"].state, lines["ppo@2"].state) == ("waiting", "–")
    assert lines["labels@2"].summary.startswith("0 of 8 tasks")
    with Workspace.open(tmp_path) as store:
        first, second = (completions_of(lines[name]) for name in ("answers", "answers@2"))
        models = [{c.model for c in store.completions(ids)} for ids in (first, second)]
        assert models[0].isdisjoint(models[1])  # the second round judges what the aligned model wrote
        assert answer(store, people) == 16

    lines = {line.name: line for line in run(recipe)}
    assert {line.state for line in lines.values()} == {"done"}
    page = next((tmp_path / "runs").glob("report-*/report.html")).read_text()
    assert "What each round brought" in page
    assert "round 2" in page
    campaigns = {view.campaign.name: view for view in _views(tmp_path)}
    assert set(campaigns) == {"labels", "labels@2"}
    assert {view.num_labels for view in campaigns.values()} == {16}


def completions_of(line: Line) -> list[str]:
    ids: list[str] = json.loads((line.folder / "completions.json").read_text())
    return ids


def _views(folder: Path) -> list[CampaignView]:
    with Workspace.open(folder) as store:
        return list_campaigns(store)
