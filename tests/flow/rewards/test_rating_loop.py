"""The loop of the rating model on a tiny model: its learning rates by hand, and a finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.rewards.ratings import Rated, fit_scales
from preflab.rewards.regression import train_on_ratings
from preflab.settings.learning import OptimiserSettings, RunSettings
from preflab.settings.rating import RatingSettings
from preflab.training.batches import TokenSequence
from preflab.training.state import RunState

WORDS = "one two three four five six seven eight"
ROWS = [Rated(f"p{i}", TokenSequence((1, 4 + i), (5, 6 + i)), (float(i), float(i % 2)), 5) for i in range(5)]
SCALES = fit_scales(ROWS, ["help", "harm"])
PEAK = 3e-3


def train(folder: Path, num_steps: int) -> tuple[list[dict[str, Any]], torch.Tensor]:
    """The rows of metrics and the weights of the heads after a run of at most four steps."""
    tokenizer = build_tokenizer([WORDS], context=24)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=24, seed=0)
    optimiser = OptimiserSettings(learning_rate=PEAK, schedule="linear", warmup_share=0.25)
    settings = RatingSettings(
        model="-", preferences="-", num_completions_per_step=2, optimiser=optimiser, run=RunSettings(save_every=2)
    )
    trunk = Trunk(model, tokenizer, lora=None, roles=("reward",), seed=1)
    heads = train_on_ratings(
        trunk, ROWS, SCALES, settings, num_steps=num_steps, folder=folder, seed=0, accelerator=Accelerator(cpu=True)
    )
    log = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in log], torch.cat([value.flatten() for value in heads.state_dict().values()])


def test_rating_loop_warms_up_and_falls_linearly(tmp_path: Path) -> None:
    # A quarter of four steps is one of warm-up, at a half; then from the peak in thirds.
    rows, _ = train(tmp_path, 4)
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    rates = [row["learning_rate"] for row in rows]
    assert rates == pytest.approx([PEAK / 2, PEAK, PEAK * 2 / 3, PEAK / 3])
    assert 0 < sum(row["time/step"] for row in rows) < 60  # and not seconds since the machine was started


def test_rating_loop_saves_after_every_second_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(RunState, "save", lambda state, folder: saved.append(state.step))
    train(tmp_path, 4)
    assert saved == [2, 4]


def test_rating_loop_tells_trackers_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int | None, float]] = []
    monkeypatch.setattr(Accelerator, "log", lambda _, values, step=None: told.append((step, values["loss/total"])))
    rows, _ = train(tmp_path, 2)
    assert told == [(row["step"], row["loss/total"]) for row in rows]


def test_rating_loop_leaves_a_finished_run_as_it_is(tmp_path: Path) -> None:
    rows, weights = train(tmp_path, 4)
    again, same = train(tmp_path, 4)
    assert again == rows
    assert torch.equal(same, weights)
