"""recipes/flashy.yaml at a small size: the whole loop, by simulated labelers, and people's campaign with clips."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from preflab import pipeline
from preflab.games.flashy import GAME, points
from preflab.games.playouts import clip_of
from preflab.labelling.campaigns import list_campaigns
from preflab.pipeline import Line
from preflab.recipe import load_recipe
from preflab.store.workspace import Workspace

SMALL = [
    "seeds=null", "stages.base.num_epochs=1", "stages.clips.num_completions=4", "stages.clips.max_prompts=16",
    "stages.rm.num_epochs=1", "stages.dpo.num_epochs=1", "stages.eval.num_completions=1", "stages.eval.max_prompts=12",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The recipe with a twentieth of its playouts."""
    folder = tmp_path_factory.mktemp("flashy") / "recipes"
    (folder / "stunts").mkdir(parents=True)
    shutil.copy(repository / "recipes" / "flashy.yaml", folder)
    script = repository / "recipes" / "stunts" / "data.py"
    subprocess.run(
        [sys.executable, str(script), str(folder / "stunts"), "--scale", "0.05"], check=True, capture_output=True
    )
    return folder


def run(folder: Path, *options: str, until: tuple[str, ...] = ()) -> dict[str, Line]:
    """The lines of a run, by stage."""
    recipe = load_recipe(folder / "flashy.yaml", [*SMALL, *options])
    return {line.name: line for line in pipeline.run(recipe, until=until)}


@pytest.mark.slow
def test_the_loop_learns_from_simulated_labelers(folder: Path) -> None:
    lines = run(folder)
    assert {line.state for line in lines.values()} == {"done"}
    assert "simulated labelers" in lines["labels"].summary
    evaluation = json.loads((lines["eval"].folder / "evaluation.json").read_text(encoding="utf-8"))
    for model in evaluation["models"]:
        assert {"judge/flashy", "judge/arrives", "judge/points"} <= set(model["figures"])
    with Workspace.open(folder.parent / "runs" / "flashy") as workspace:
        kinds = {judgment.labeler_kind for judgment in workspace.judgments()}
        assert kinds == {"simulated"}
        prompts = {prompt.id: prompt.text for prompt in workspace.prompts()}
        for preference in workspace.preferences():
            texts = [one.text for one in workspace.completions(list(preference.completion_ids))]
            assert all(points(prompts[preference.prompt_id], text) >= 0 for text in texts)


@pytest.mark.slow
def test_people_are_asked_with_clips(folder: Path) -> None:
    lines = run(folder, "stages.labels.labelers=people", until=("labels",))
    assert lines["labels"].state == "waiting"
    with Workspace.open(folder.parent / "runs" / "flashy") as workspace:
        (view,) = list_campaigns(workspace)
        assert (view.options.content, view.num_tasks) == ("playout", 16)
        (task, *_) = workspace.tasks(campaign_id=view.campaign.id)
        (prompt,) = workspace.prompts([task.prompt_id])
        shown = workspace.completions(list(task.completion_ids))
        assert [one.columns["clip"] for one in shown] == [clip_of(GAME, prompt.text, one.text) for one in shown]
