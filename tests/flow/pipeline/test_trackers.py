"""Trackers: what TensorBoard shows is what metrics.jsonl holds; one that is not installed is refused."""

from __future__ import annotations

import importlib.util
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import run_command
from preflab.files import read_jsonl
from preflab.models.tiny import build_model, build_tokenizer
from preflab.training import state

SECOND = 1.1
"""Between two sessions: TensorBoard orders event files by the second in their names."""
WORDS = ["where is my parcel ?", "is it late ?", "it is here ."]
RECIPE = """
recipe: 1
data: {rows: {path: rows.jsonl}, pairs: {path: pairs.jsonl}}
stages:
  base: {kind: tiny, text: rows, num_layers: 1, hidden_size: 16, num_heads: 2, context: 24, num_steps: 2,
         run: {log_with: [tensorboard]}}
  sft: {kind: sft, model: ./model, data: rows, num_epochs: 2, run: {log_with: [tensorboard]}}
  rm: {kind: reward, model: ./model, preferences: pairs, held_out: 0.5, lora: {rank: 2}, num_rankings_per_step: 1,
       run: {log_with: [tensorboard]}}
  ppo:
    kind: ppo
    model: ./model
    prompts: rows
    held_out_prompts: rows
    rewards: [{function: "rewards_to_track:late"}]
    num_steps: 3
    num_completions_per_step: 8
    num_epochs: 1
    decoding: {max_new_tokens: 6}
    lora: {rank: 2}
    stop: {criterion: "rewards_to_track:late", every: 2}
    run: {save_every: 1, log_with: [tensorboard]}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a recipe whose stages are tracked."""
    monkeypatch.chdir(tmp_path)
    tokenizer = build_tokenizer(WORDS, context=24)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=24, seed=0)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"text": words, "prompt": words, "completion": WORDS[2]} for words in WORDS]
    pairs = [{"prompt": words, "chosen": "it is here .", "rejected": "late"} for words in (*WORDS, "late", "here")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    late = 'def late(prompt, completion):\n    return float(completion.count("late"))\n'
    (tmp_path / "rewards_to_track.py").write_text(late, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Name → step → value of all event files below a run's folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, dict[int, float]] = {}
    for place in {path.parent for path in folder.rglob("events.out.tfevents.*")}:
        events = EventAccumulator(str(place))
        events.Reload()
        for name in events.Tags()["scalars"]:
            for event in events.Scalars(name):
                assert event.step not in found.get(name, {}), f"{name} twice at step {event.step}"
                found.setdefault(name, {})[event.step] = event.value
    return found


def written(folder: Path) -> dict[str, dict[int, float]]:
    """The same of metrics.jsonl."""
    found: dict[str, dict[int, float]] = {}
    for row in read_jsonl(folder / "metrics.jsonl"):
        for name, value in row.items():
            if name != "step":
                found.setdefault(name, {})[row["step"]] = value
    return found


def assert_same(folder: Path) -> dict[str, dict[int, float]]:
    shown, kept = scalars(folder), written(folder)
    assert shown.keys() == kept.keys()
    for name, steps in kept.items():
        assert shown[name] == pytest.approx(steps, rel=1e-6), name  # event files hold 32-bit floats
    return shown


@pytest.mark.parametrize(
    ("command", "stage", "names"),
    [
        ("sft", "sft", {"loss/nll", "grad/norm"}),
        ("reward", "rm", {"loss/bradley_terry", "accuracy/train"}),
        ("ppo", "ppo", {"reward/mean", "kl/exact", "score/held_out", "reward/late"}),
    ],
)
def test_tensorboard_shows_what_metrics_jsonl_holds(here: Path, command: str, stage: str, names: set[str]) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'preflab[trackers]'")
    assert run_command(["train", command]) == 0
    (folder,) = here.glob(f"runs/{stage}-*")
    shown = assert_same(folder)
    assert names <= shown.keys()
    assert all(math.isfinite(value) for steps in shown.values() for value in steps.values())


def test_the_tiny_model_is_tracked_too(here: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'preflab[trackers]'")
    assert run_command(["run", "--until", "base"]) == 0
    assert sorted(assert_same(next(here.glob("runs/base-*")))["loss/nll"]) == [0, 1]


def test_a_raised_number_of_steps_adds_the_new_ones(here: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'preflab[trackers]'")
    assert run_command(["train", "ppo"]) == 0
    time.sleep(SECOND)
    assert run_command(["train", "ppo", "--set", "stages.ppo.num_steps=5"]) == 0
    assert sorted(assert_same(next(here.glob("runs/ppo-*")))["reward/mean"]) == [0, 1, 2, 3, 4]


def test_steps_done_again_after_an_interruption_are_shown_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'preflab[trackers]'")
    write, num_writes = state.write_tensors, 0

    def full(path: Path, tensors: dict[str, Any]) -> None:
        nonlocal num_writes
        num_writes += 1
        if num_writes > 3:  # three files per checkpoint: that of step 2 is kept, that of step 4 is not
            raise OSError(28, "No space left on device", str(path))
        write(path, tensors)

    train = ["train", "ppo", "--set", "stages.ppo.num_steps=5", "--set", "stages.ppo.run.save_every=2"]
    with monkeypatch.context() as patched:
        patched.setattr(state, "write_tensors", full)
        with pytest.raises(SystemExit, match="2"):
            run_command(train)
    time.sleep(SECOND)
    assert run_command(train) == 0
    assert sorted(assert_same(next(here.glob("runs/ppo-*")))["reward/mean"]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("command", "stage"), [("sft", "sft"), ("reward", "rm"), ("ppo", "ppo")])
def test_a_tracker_that_is_not_installed_is_refused_before_a_model_is_opened(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, stage: str
) -> None:
    monkeypatch.setattr("preflab.pipeline.running.check_hub_files", lambda recipe, names: None)
    find = importlib.util.find_spec

    def absent(name: str, *given: Any) -> Any:
        return None if name == "wandb" else find(name, *given)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    changes = ["--set", f"stages.{stage}.run.log_with=[wandb]", "--set", f"stages.{stage}.model=nobody/no-such-model"]
    with pytest.raises(SystemExit, match="2"):
        run_command(["train", command, *changes])
    found, expected, do = capsys.readouterr().err.splitlines()[-3:]
    assert found == f"error: stage {stage}: run.log_with names wandb, which is not installed"
    assert expected.strip() == "an installed tracker"
    assert "pip install 'preflab[trackers]'" in do
    assert not list(here.glob("runs/*/metrics.jsonl"))
