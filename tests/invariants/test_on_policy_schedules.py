"""Coefficient and learning rate of the loops, step by step: what is logged, what is learned with, what moves it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from torch import Tensor

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.trunk import Trunk
from preflab.policy import grpo as grpo_loop
from preflab.policy.grpo import GrpoRun, train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.policy.ppo import train_ppo
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings
from preflab.training.metrics import is_time
from preflab.training.rollouts import Rollouts
from preflab.training.state import RunState
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import files_of, kept_rollouts, tiny_ppo, tiny_trunk

Train = Callable[..., list[dict[str, float]]]
LORA = LoraSettings(rank=2, alpha=4)
FAST = {"learning_rate": 5e-2, "schedule": "constant"}
FAR = {"kl_coef": 1.0, "kl_target": 1000.0, "kl_horizon": 16}
"""The KL stays far below the target: with 16 completions a step, kl_coef is multiplied by 1 − 0.2 · 16/16 each time."""


def reward(ids: tuple[int, ...]) -> float:
    """Likes token 1."""
    return float(ids.count(1))


def one_prompt(version: int) -> tuple[float, None]:
    """A held-out criterion of one prompt: there is no standard error."""
    return 0.25, None


measured_by = one_prompt


def ppo(folder: Path, **changes: Any) -> list[dict[str, float]]:
    """The metrics of a run with values of 0, whose whole loss is that of the policy."""
    fixed = {"value_coef": 0.0, "whiten_advantages": False, "lam": 1.0}
    run = tiny_ppo(folder, tiny_trunk(lora=LORA), reward, **{**fixed, **changes})
    run.held_out = measured_by
    train_ppo(run)
    return read_jsonl(folder / "metrics.jsonl")


def grpo(folder: Path, **changes: Any) -> list[dict[str, float]]:
    """The metrics of a run of the GRPO family."""
    run = tiny_grpo(folder, tiny_trunk(("policy", "reference"), lora=LORA), reward, **changes)
    run.held_out = measured_by
    train_grpo(run)
    return read_jsonl(folder / "metrics.jsonl")


def online_dpo(folder: Path, **changes: Any) -> list[dict[str, float]]:
    """The metrics of a run of Online DPO."""
    run = tiny_online_dpo(folder, tiny_trunk(("policy", "reference"), lora=LORA), reward, **changes)
    run.held_out = measured_by
    train_online_dpo(run)
    return read_jsonl(folder / "metrics.jsonl")


@pytest.mark.parametrize("train", [ppo, grpo, online_dpo])
def test_learning_rate_starts_at_the_peak_and_ends_one_step_above_zero(train: Train, tmp_path: Path) -> None:
    rows = train(tmp_path, num_steps=4, optimiser={"learning_rate": 4e-3, "schedule": "linear"})
    assert [row["learning_rate"] for row in rows] == pytest.approx([4e-3, 3e-3, 2e-3, 1e-3])


def test_ppo_takes_the_adapted_coefficient_off_the_reward(tmp_path: Path) -> None:
    """One token each and values of 0: the mean advantage is the mean reward less kl_coef · the mean log-ratio."""
    rows = ppo(tmp_path, num_steps=4, optimiser=FAST, decoding={"max_new_tokens": 1}, **FAR)
    assert [row["kl/coef"] for row in rows] == pytest.approx([1, 0.8, 0.64, 0.512])
    for row in rows:
        expected = row["reward/mean"] - row["kl/coef"] * row["kl/k1"]
        assert row["advantage/mean"] == pytest.approx(expected, abs=1e-4)
    assert abs(rows[-1]["kl/k1"]) > 0.02, "so that another coefficient would show"


def test_grpo_takes_the_adapted_coefficient_off_the_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Advantages against a group have mean 0 whatever the coefficient, so the one that is handed on is noted."""
    handed_on: list[float] = []
    advantages = grpo_loop.advantages

    def noted(run: GrpoRun, rollouts: Rollouts, scores: Tensor, kl_coef: float) -> Tensor:
        handed_on.append(kl_coef)
        return advantages(run, rollouts, scores, kl_coef)

    monkeypatch.setattr(grpo_loop, "advantages", noted)
    grpo(tmp_path, num_steps=3, **FAR)
    assert handed_on == pytest.approx([1, 0.8, 0.64])


@pytest.mark.parametrize(("train", "treatment"), [(ppo, "exact"), (grpo, "exact"), (grpo, "token_k3")])
def test_kl_loss_has_the_adapted_coefficient(train: Train, treatment: str, tmp_path: Path) -> None:
    rows = train(tmp_path, num_steps=4, optimiser=FAST, kl_treatment=treatment, **FAR)
    assert [row["kl/coef"] for row in rows] == pytest.approx([1, 0.8, 0.64, 0.512])
    for row in rows:
        expected = row["loss/policy"] + row["kl/coef"] * row["loss/kl"]
        assert row["loss/total"] == pytest.approx(expected, abs=1e-5)
    assert rows[-1]["loss/kl"] > 1e-3, "so that another coefficient would show"


@pytest.mark.parametrize("train", [ppo, grpo])
def test_coefficient_is_moved_by_the_exact_kl(train: Train, tmp_path: Path) -> None:
    """A target 1.1 times the second step's exact KL: error 1/1.1 − 1 = −1/11, not clipped, with 16 of 16 completions.

    The first step's KL is 0, so the coefficient goes 1, 0.8, 0.8 · 10/11. The estimate by k1 is another number.
    """
    changes = {"num_steps": 3, "optimiser": FAST}
    second = train(tmp_path / "first", **changes, **FAR)[1]
    assert abs(second["kl/k1"] / second["kl/exact"] - 1) > 0.01
    rows = train(tmp_path / "second", **changes, **{**FAR, "kl_target": 1.1 * second["kl/exact"]})
    assert [row["kl/coef"] for row in rows] == pytest.approx([1, 0.8, 0.8 * 10 / 11], rel=1e-4)


@pytest.mark.parametrize("train", [ppo, grpo, online_dpo])
def test_held_out_criterion_of_one_prompt_is_logged_without_an_error(train: Train, tmp_path: Path) -> None:
    rows = train(tmp_path, num_steps=2, stop={"criterion": "a:b", "every": 2}, held_out_prompts="p")
    assert [row.get("score/held_out") for row in rows] == [None, 0.25]
    assert not any("score/held_out_error" in row for row in rows)


@pytest.mark.parametrize("train", [ppo, grpo, online_dpo])
def test_checkpoint_is_written_every_so_many_steps_and_after_the_last(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(RunState, "save", lambda state, folder: saved.append(state.step))
    train(tmp_path, num_steps=5, run={"save_every": 2})
    assert saved == [2, 4, 5]


@pytest.mark.parametrize("train", [ppo, grpo, online_dpo])
def test_tokens_per_second_are_tokens_by_seconds(train: Train, tmp_path: Path) -> None:
    started = time.perf_counter()
    (row,) = train(tmp_path, num_steps=1)
    assert row["time/step"] <= time.perf_counter() - started
    assert row["tokens/s"] == pytest.approx(row["num/tokens"] / row["time/step"])
    assert row["time/step"] >= row["time/collect"] + row["time/score"] + row["time/update"] - 1e-3
    assert min(row["time/collect"], row["time/score"], row["time/update"]) >= 0


@pytest.mark.parametrize("train", [ppo, grpo, online_dpo])
def test_sampler_and_criterion_are_told_the_number_of_optimiser_steps(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two passes of two minibatches are four optimiser steps per step: versions 0 and 4 are written with, 8 measured.

    Trackers are told the step, and trunks that their activations are not kept where the settings say so.
    """
    versions: list[int] = []
    measured: list[int] = []
    logged: list[int | None] = []
    checkpointed: list[bool] = []
    sync, enable = TransformersEngine.sync, Trunk.enable_gradient_checkpointing
    monkeypatch.setattr(
        TransformersEngine, "sync", lambda engine, version: (versions.append(version), sync(engine, version))[1]
    )
    monkeypatch.setattr(Accelerator, "log", lambda self, values, step=None, **_: logged.append(step))
    monkeypatch.setattr(
        Trunk, "enable_gradient_checkpointing", lambda self: (checkpointed.append(True), enable(self))[1]
    )

    def noted(version: int) -> tuple[float, None]:
        measured.append(version)
        return one_prompt(version)

    monkeypatch.setattr(sys.modules[__name__], "measured_by", noted)
    stop = {"criterion": "a:b", "every": 2}
    train(tmp_path / "a", num_steps=2, num_epochs=2, num_minibatches=2, stop=stop, held_out_prompts="p")
    assert (versions, measured, logged, checkpointed) == ([0, 4], [8], [0, 1], [])
    train(tmp_path / "b", num_steps=1, optimiser={"gradient_checkpointing": True})
    assert checkpointed == [True]


@pytest.mark.parametrize("train", [ppo, grpo, online_dpo])
def test_trainer_reads_logits_at_the_temperature_of_the_sampler(train: Train, tmp_path: Path) -> None:
    (row,) = train(tmp_path, num_steps=1, decoding={"max_new_tokens": 3, "temperature": 0.5})
    assert row["mismatch/logps"] < 1e-4
    assert row["ratio/first_deviation"] < 1e-4
    assert abs(row["kl/exact"]) < 1e-5
    assert abs(row["kl/k1"]) < 1e-4


@pytest.mark.parametrize("train", [ppo, grpo, online_dpo])
def test_rollouts_of_every_step_are_kept(train: Train, tmp_path: Path) -> None:
    train(tmp_path, num_steps=2, num_kept_rollouts=3)
    rows = kept_rollouts(tmp_path)
    assert [row["step"] for row in rows] == [0, 0, 0, 1, 1, 1]
    for row in rows:
        assert ("values" in row) == (train is ppo)
        assert len(row["tokens"]) == len(row["advantages"]) == len(row["kl"]) == len(row["ratio"])


@pytest.mark.parametrize("train", [grpo, online_dpo])
def test_kept_advantages_are_rewards_less_the_mean_of_their_group(train: Train, tmp_path: Path) -> None:
    """Not divided by a deviation; a token's advantage is that of its completion."""
    chosen: dict[str, Any] = {"algorithm": "dr_grpo", "kl_coef": 0.0} if train is grpo else {}
    train(tmp_path, num_steps=1, num_kept_rollouts=16, **chosen)
    rows = kept_rollouts(tmp_path)
    assert len(rows) == 16
    for group in (rows[place : place + 4] for place in range(0, 16, 4)):
        mean = sum(row["reward"] for row in group) / 4
        for row in group:
            assert row["advantages"] == pytest.approx([row["reward"] - mean] * 3, abs=1e-5)
    assert len({row["reward"] for row in rows}) > 1, "so that another scale would show"


@pytest.mark.parametrize("train", [ppo, grpo, online_dpo])
def test_old_policy_is_the_trainers_where_the_samplers_numbers_may_not_serve(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked in the micro-batches that are learned first; the step is that of a sampler that is exact."""
    changes = {"num_steps": 1, "num_minibatches": 2, "optimiser": {**FAST, "tokens_per_micro_batch": 24}}
    (exact,) = train(tmp_path / "exact", **changes)
    monkeypatch.setattr(TransformersEngine, "exact", property(lambda self: False))
    (row,) = train(tmp_path / "not", **changes)
    assert row["ratio/first_deviation"] < 1e-5
    assert row["mismatch/logps"] < 1e-4
    for name in ("kl/exact", "kl/k1", "reward/mean", "loss/total", "grad/norm", "advantage/std"):
        assert row[name] == pytest.approx(exact[name], rel=1e-3, abs=1e-4), name


def test_results_say_how_a_run_ended(tmp_path: Path) -> None:
    trunk = tiny_trunk(lora=LORA)
    both = tiny_trunk(("policy", "reference"), lora=LORA)
    changes = {"num_steps": 1}
    results = (
        train_ppo(tiny_ppo(tmp_path / "ppo", trunk, reward, **changes)),
        train_grpo(tiny_grpo(tmp_path / "grpo", both, reward, **changes)),
        train_online_dpo(tiny_online_dpo(tmp_path / "online", both, reward, **changes)),
    )
    for result in results:
        assert (result.num_steps, result.stopped_because, result.alarms) == (1, "1 step is done", [])


@pytest.mark.parametrize(("train", "kl"), [(ppo, FAR), (grpo, FAR), (online_dpo, {})])
def test_run_goes_on_from_its_checkpoint(train: Train, kl: dict[str, float], tmp_path: Path) -> None:
    """One step, then the second: the metrics and rollouts of two at once, and no fewer steps than are done."""
    whole = train(tmp_path / "whole", num_steps=2, optimiser=FAST, **kl)
    train(tmp_path / "parts", num_steps=1, optimiser=FAST, **kl)
    parts = train(tmp_path / "parts", num_steps=2, optimiser=FAST, **kl)
    for one, other in zip(whole, parts, strict=True):
        assert {k: v for k, v in one.items() if not is_time(k)} == {k: v for k, v in other.items() if not is_time(k)}
    kept = [files_of(tmp_path / name / "rollouts") for name in ("whole", "parts")]
    assert kept[0] == kept[1]
    with pytest.raises(PreflabError, match="2 steps are done, and num_steps is 1"):
        train(tmp_path / "parts", num_steps=1, optimiser=FAST, **kl)
