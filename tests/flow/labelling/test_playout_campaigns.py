"""Campaigns of playouts: what an upload, a command, the options and a judge stage do about clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from playouts import DANCE, FALL, PLAYOUTS, SHORTEST, START, make_playout_campaign, rows
from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.files import write_json
from preflab.games.flashy import GAME
from preflab.games.game import load_game
from preflab.games.playouts import clip_of
from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import campaign_view, change_options, create_campaign, list_campaigns
from preflab.labelling.errors import Invalid
from preflab.labelling.options import CampaignOptions
from preflab.labelling.upload import uploaded_groups
from preflab.recipe import load_recipe
from preflab.records import Completion, Prompt
from preflab.settings.feedback import JudgeSettings
from preflab.stages.base import StageContext, StageOutput
from preflab.stages.judge import check
from preflab.stages.judge import run as run_judge
from preflab.store.completion_columns import add_columns
from preflab.store.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace."""
    with Workspace.open(tmp_path / "workspace", create=True) as workspace:
        yield workspace


def uploaded(*lines: Any) -> Any:
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return uploaded_groups("p.jsonl", data, content="playout")


def test_upload_keeps_the_clips_with_the_completions() -> None:
    found = uploaded(*rows())
    assert [len(group) for group in found.groups] == [4]
    assert [one.columns["clip"]["end"] for one in found.completions] == [
        "The game ended with result 1.",
        "The game ended with result 1.",
        "The game ended with result -1.",
        "Word 3, jump, was not played: it is not a legal move there.",
    ]
    assert [len(one.columns["clip"]["frames"]) for one in found.completions] == [7, 11, 3, 3]


def changed(row: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**row, **values}


def test_upload_names_the_line_of_a_wrong_clip() -> None:
    shortest, dance, fall = rows((SHORTEST, DANCE, FALL))
    wrong = {
        "no clip": changed(dance, clip=None),
        "a clip of 3 frames for 10 moves": changed(dance, clip={"frames": fall["clip"]["frames"]}),
        "a clip of 11 frames for 6 moves": changed(shortest, clip=dance["clip"]),
        "frame 2 differs from that of an earlier clip": changed(fall, completion="right right"),
        "frame 0 differs": changed(shortest, clip=clip_of(GAME, "start (3,0,20)", "up right right right right right")),
        "several completions": {"prompt": START, "completions": [SHORTEST, DANCE]},
    }
    for found, row in wrong.items():
        with pytest.raises(Invalid, match=f"p.jsonl, line 2: {found}"):
            uploaded(shortest, row)


def test_playouts_without_clips_make_no_campaign(ws: Workspace) -> None:
    prompt = Prompt.make(text=START)
    texts = [Completion.make(prompt.id, text, "m", index=n) for n, text in enumerate((SHORTEST, DANCE))]
    ws.put([prompt, *texts])
    groups = [[one.id for one in texts]]
    with pytest.raises(Invalid, match="'right right .*' has no clip"):
        create_campaign(ws, CampaignOptions(name="Stunts", content="playout"), groups)
    plain = create_campaign(ws, CampaignOptions(name="Stunts"), groups)
    with pytest.raises(Invalid, match="has no clip"):
        change_options(ws, plain.id, 1, {"content": "playout"})
    add_columns(ws, {one.id: {"clip": clip_of(GAME, START, one.text)} for one in texts})
    assert change_options(ws, plain.id, 1, {"content": "playout"}).content == "playout"


def test_columns_are_added_and_others_stay(ws: Workspace) -> None:
    prompt = Prompt.make(text=START)
    one = Completion.make(prompt.id, SHORTEST, "m", columns={"origin": "a file", "clip": 1})
    ws.put([prompt, one])
    add_columns(ws, {one.id: {"clip": 2}})
    (stored,) = ws.completions([one.id])
    assert stored == replace(one, columns={"origin": "a file", "clip": 2})


def test_labelers_see_clips_and_no_other_columns(ws: Workspace) -> None:
    campaign = make_playout_campaign(ws, "ranking", open_to="everybody")
    person = create_account(ws, "Anna", "labeler", "correct horse battery")
    turn = next_turn(ws, campaign.id, person.labeler_id)
    assert turn is not None
    assert [one.text for one in turn.completions] == list(PLAYOUTS)
    assert all(set(one.columns) == {"clip"} and one.model == "" for one in turn.completions)


def test_command_writes_playouts_that_make_a_campaign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, ws = tmp_path / "playouts.jsonl", ["--workspace", str(tmp_path / "w")]
    written = ["game", "playouts", "cliff", "--out", str(file), "--num", "3", "--prompts", "5", "--games", "300"]
    assert run_command(written) == 0
    assert "--option content=playout" in capsys.readouterr().out
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 15
    assert {line["model"] for line in lines} == {"q", "random"}
    cliff = load_game("cliff")
    assert all(line["clip"] == clip_of(cliff, line["prompt"], line["completion"]) for line in lines)
    assert run_command(["campaign", "create", str(file), "--name", "c", "--option", "content=playout", *ws]) == 0
    with Workspace.open(tmp_path / "w") as workspace:
        (view,) = list_campaigns(workspace)
        assert view.num_tasks == 5
        assert campaign_view(workspace, view.campaign.id).options.content == "playout"


def test_command_adds_clips_to_playouts_of_another_player(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "mine.jsonl", tmp_path / "clips.jsonl"
    mine = [{"prompt": START, "completion": SHORTEST, "model": "mine"}]
    file.write_text(json.dumps(mine[0]) + "\n", encoding="utf-8")
    command = ["game", "playouts", "stunts", "--add-to", str(file), "--out", str(out)]
    assert run_command(command) == 0
    assert json.loads(out.read_text(encoding="utf-8")) == {**mine[0], **rows((SHORTEST,))[0]}
    capsys.readouterr()
    file.write_text(file.read_text(encoding="utf-8") + '{"prompt": "somewhere", "completion": "right"}\n')
    with pytest.raises(SystemExit):
        run_command(command)
    assert f"{file}, line 2: the prompt 'somewhere'" in capsys.readouterr().err
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        run_command(command)
    assert f"{file}: no rows" in capsys.readouterr().err


def judge_settings(**values: Any) -> JudgeSettings:
    return JudgeSettings(completions="answers", **values)


def test_content_playout_and_a_game_belong_together() -> None:
    check(None, judge_settings(content="playout", game="stunts"))  # type: ignore[arg-type]
    for values in ({"content": "playout"}, {"game": "stunts"}):
        with pytest.raises(PreflabError, match="content: playout and the game"):
            check(None, judge_settings(**values))  # type: ignore[arg-type]


RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}}
stages:
  answers: {kind: sample, model: nobody/nothing, prompts: prompts}
  labels: {kind: judge, completions: answers, overlap: 2, content: playout, game: my_game.py}
"""


def test_a_judge_stage_makes_the_clips_of_its_own_game(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": START}) + "\n")
    (tmp_path / "my_game.py").write_text("from preflab.games.stunts import *\n")
    prompt = Prompt.make(text=START)
    texts = [Completion.make(prompt.id, text, "m", index=n) for n, text in enumerate(PLAYOUTS)]
    ws.put([prompt, *texts])
    folders = {name: ws.runs / name for name in ("answers", "labels")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    write_json(folders["answers"] / "completions.json", [one.id for one in texts])
    done = {"answers": StageOutput("answers", "sample", "0", folders["answers"], {})}
    recipe = load_recipe(tmp_path / "recipe.yaml")
    stage = recipe.stages["labels"]
    context = StageContext("labels", stage, 7, folders["labels"], recipe, done, done, recipe.device, lambda: ws)
    assert run_judge(context).waiting == "0 of 1 task has 2 labels"
    stored = ws.completions([one.id for one in texts])
    assert [one.columns["clip"] for one in stored] == [clip_of(GAME, START, one.text) for one in stored]
