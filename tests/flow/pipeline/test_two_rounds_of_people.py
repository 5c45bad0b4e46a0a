"""The loop closed twice with people (R24): a tiny model's completions, a campaign, a new policy, and again.

The people come by the invitation that the run tells one to make; nobody is let into the second round by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflab.cli import run_command
from preflab.labelling.accounts import Account
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import CampaignView, list_campaigns
from preflab.labelling.invites import use_invite
from preflab.labelling.submissions import Submission, submit
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.records import RankingAnswer
from preflab.store.workspace import Workspace
from two_rounds import NUM_TASKS, prepared, printed_command, worth

PASSWORD = "correct horse battery"


def answer(store: Workspace, people: list[Account]) -> int:
    """Both people rank what the app hands them in the newest campaign they find, the text with more words first."""
    num = 0
    for person in people:
        campaign = list_campaigns(store, person.labeler_id)[0].campaign
        while (turn := next_turn(store, campaign.id, person.labeler_id)) is not None:
            values = [worth(completion.text) for completion in turn.completions]
            ranks = tuple(1 + sum(other > own for other in values) for own in values)
            if len(set(values)) == 1:
                ranks = (1, 2)
            key, given = f"{person.id}-{turn.task.id}", RankingAnswer(ranks)
            submit(store, Submission(key, turn.task.id, person.labeler_id, 0, given))
            num += 1
    return num


def come(said: str, capsys: pytest.CaptureFixture[str], folder: Path) -> list[Account]:
    """Two people open the links that the printed command prints."""
    people = []
    for name in ("ann", "bob"):
        capsys.readouterr()
        assert run_command(printed_command(said, "campaign", "invite")) == 0
        link = capsys.readouterr().out.splitlines()[0]
        with Workspace.open(folder) as store:
            people.append(use_invite(store, link.rpartition("/")[2], name, PASSWORD))
    return people


@pytest.mark.slow
def test_the_aligned_models_completions_become_the_next_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(prepared(tmp_path))
    assert run_command(["run"]) == 0
    said = capsys.readouterr().out
    lines = {line.name: line for line in run(recipe)}
    assert (lines["labels"].state, lines["ppo"].state, lines["labels@2"].state) == ("waiting", "–", "–")
    people = come(said, capsys, tmp_path)
    with Workspace.open(tmp_path) as store:
        assert answer(store, people) == 2 * NUM_TASKS

    assert run_command(["run"]) == 0
    assert "2 labelers see the campaign there already" in capsys.readouterr().out.splitlines()[-1]
    lines = {line.name: line for line in run(recipe)}
    assert (lines["ppo"].state, lines["answers@2"].state) == ("done", "done")
    assert (lines["labels@2"].state, lines["ppo@2"].state) == ("waiting", "–")
    assert lines["labels@2"].summary.startswith("0 of 8 tasks")
    with Workspace.open(tmp_path) as store:
        first, second = (completions_of(lines[name]) for name in ("answers", "answers@2"))
        models = [{c.model for c in store.completions(ids)} for ids in (first, second)]
        assert models[0].isdisjoint(models[1])  # the second round judges what the aligned model wrote
        assert answer(store, people) == 2 * NUM_TASKS

    lines = {line.name: line for line in run(recipe)}
    assert {line.state for line in lines.values()} == {"done"}
    page = next((tmp_path / "runs").glob("report-*/report.html")).read_text()
    assert "Results of each round" in page
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
