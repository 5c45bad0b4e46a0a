"""`campaign prioritise`: what reward models disagree about, or what a file says, is asked first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from preflab.cli import run_command
from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.audit import list_events
from preflab.labelling.campaigns import list_campaigns
from preflab.models.loading import load_causal_lm
from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.models.weights_id import base_hash
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import save_reward_model
from preflab.settings.learning import LoraSettings
from preflab.store.workspace import Workspace

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A campaign of two tasks, and two reward models with opposite heads."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": "p", "completions": ["red", "red red"]}, {"prompt": "q", "completions": ["blue", "green big"]}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_command(["campaign", "create", "c.jsonl", "--name", "colours"]) == 0
    tokenizer = build_tokenizer(["p q red blue green big"], context=16)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=16, seed=0)
    for saved in (model, tokenizer):
        saved.save_pretrained(tmp_path / "base")
    weights = base_hash(tmp_path / "base", None)
    for name, sign in (("one", 1.0), ("other", -1.0)):
        base = load_causal_lm(tmp_path / "base", dtype="float32")
        trunk = Trunk(base, tokenizer, lora=LoraSettings(rank=2), roles=("reward",), seed=3)
        with torch.no_grad():
            trunk.head("reward").linear.weight.mul_(20 * sign)
        save_reward_model(
            trunk, tmp_path / name, base="../base", weights_hash=weights, encoder=Encoder(tokenizer, True, 16)
        )
    return tmp_path


def first_prompt(folder: Path, who: str) -> str:
    with Workspace.open(folder) as store:
        labeler = create_account(store, who, "labeler").labeler_id
        turn = next_turn(store, list_campaigns(store)[0].campaign.id, labeler)
        assert turn is not None
        return turn.prompt.shown


def test_the_task_models_disagree_about_comes_first(here: Path, capsys: Captured) -> None:
    assert run_command(["campaign", "prioritise", "colours", "--by", "one", "--by", "other"]) == 0
    out = capsys.readouterr().out
    assert "2 tasks of colours in order" in out
    assert "where 2 reward models disagree" in out
    # "red" and "red red" differ by one word: opposite heads are further apart on the other task.
    assert first_prompt(here, "Ann") == "q"


def test_without_models_the_labels_alone_decide(here: Path, capsys: Captured) -> None:
    assert run_command(["campaign", "prioritise", "colours", "--json"]) == 0
    assert '"num_tasks": 2' in capsys.readouterr().out


def test_one_model_cannot_disagree(here: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as left:
        run_command(["campaign", "prioritise", "colours", "--by", "one"])
    assert left.value.code == 2
    assert "two or more, whose disagreement counts" in capsys.readouterr().err


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prompts p and q, of three and of two completions side by side: three tasks of p before one of q."""
    monkeypatch.chdir(tmp_path)
    talk = [{"role": "user", "content": "q"}]
    rows = [{"prompt": "p", "completions": ["a", "b", "c"]}, {"prompt": talk, "completions": ["d", "e"], "topic": "z"}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_command(["campaign", "create", "c.jsonl", "--name", "letters", "--way", "side_by_side"]) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("first.csv", "prompt,priority,who\np,-1,me\nuser: q,2.5,me\n"),
        ("first.jsonl", '{"prompt": [{"role": "user", "content": "q"}], "priority": 1}\n'),
    ],
)
def test_a_file_says_which_prompts_come_first(campaign: Path, capsys: Captured, name: str, text: str) -> None:
    assert first_prompt(campaign, "Ann") == "p"
    (campaign / name).write_text(text)
    capsys.readouterr()
    assert run_command(["campaign", "prioritise", "letters", "--priorities", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_tasks"] == (4 if "p,-1" in text else 1)
    assert first_prompt(campaign, "Ben") == "user: q"
    with Workspace.open(campaign) as store:
        view = list_campaigns(store)[0]
        assert view.options.order == "nearest_done", "priorities leave the order among their equals"
        assert "priorities set" in [event.what for event in list_events(store, limit=10)]


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        (
            '{"prompt": "p", "priority": 1}\n{"prompt": "r", "priority": 1}',
            "line 2: no task has the prompt 'r'",
            "prompt",
        ),
        (
            '{"prompt": "p", "priority": 1}\n{"prompt": "p", "priority": 2}',
            "line 2: the prompt of line 1 again",
            "once",
        ),
        ('{"prompt": "p"}', "line 1: no column 'priority'", "a column 'priority'"),
        ('{"prompt": "p", "priority": true}', "line 1: the column 'priority' holds true or false", "a number"),
        ('{"prompt": "p", "priority": "high"}', "line 1: the priority 'high'", "higher comes first"),
        ('{"prompt": "p", "priority": "inf"}', "line 1: the priority 'inf'", "a finite number"),
        ('{"prompt": "p", "priority": 1}\n{"prompt"', "line 2: not JSON", "one JSON object per line"),
        ("", "no rows", "at least one prompt"),
    ],
)
def test_a_row_that_cannot_be_used_changes_nothing(
    campaign: Path, capsys: Captured, text: str, found: str, expected: str
) -> None:
    (campaign / "first.jsonl").write_text(text)
    with pytest.raises(SystemExit) as left:
        run_command(["campaign", "prioritise", "letters", "--priorities", "first.jsonl"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert found in said
    assert expected in said
    with Workspace.open(campaign) as store:
        assert all(event.what != "priorities set" for event in list_events(store, limit=10))


def test_a_file_and_reward_models_are_two_calls(campaign: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        run_command(["campaign", "prioritise", "letters", "--priorities", "x.csv", "--by", "one", "--by", "other"])
    assert "one of them" in capsys.readouterr().err
