"""`campaign prioritise`: tasks on which reward models disagree are asked first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from preflab.cli import run_command
from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import list_campaigns
from preflab.models.loading import load_causal_lm
from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import base_hash, save_reward_model
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
    assert "two of them or more" in capsys.readouterr().err
