"""What the on-policy loops set up alike: micro-batches of the first pass, rates of two roles, the KL's controller."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from preflab.maths.kl import AdaptiveKLController, FixedKLController
from preflab.policy.on_policy_setup import alarms_of, first_micro_batches, kl_controller, minibatches, ppo_optimiser
from preflab.seeds import derive_seed
from preflab.settings.learning import OptimiserSettings
from preflab.settings.ppo import PpoSettings
from preflab.training.row_order import micro_batches_of_pass

LENGTHS = [3, 5, 2, 4, 1, 6, 2, 2]


def run_of(folder: Path, *, exact: bool, half: bool = False) -> Any:
    """As much of a run as the setup reads."""
    optimiser = OptimiserSettings(tokens_per_micro_batch=8)
    settings = SimpleNamespace(num_steps=4, kl_budget=2.0, num_minibatches=2, optimiser=optimiser)
    sampler, trunk = SimpleNamespace(exact=exact), SimpleNamespace(in_half_precision=half)
    return SimpleNamespace(trunk=trunk, sampler=sampler, settings=settings, folder=folder, seed=3, sharing=None)


def test_minibatches_of_a_pass_have_a_seed_of_their_own(tmp_path: Path) -> None:
    run = run_of(tmp_path, exact=True)
    seen = []
    for step, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        batches = minibatches(run, LENGTHS, step, epoch)
        assert batches == micro_batches_of_pass(LENGTHS, 2, 8, derive_seed(3, "minibatches", step, epoch))
        assert len(batches) == 2
        seen.append(str(batches))
    assert len(set(seen)) == 4


def test_first_pass_is_asked_in_the_batches_that_are_learned_first(tmp_path: Path) -> None:
    """Only where the sampler's log-probabilities may not serve."""
    assert first_micro_batches(run_of(tmp_path, exact=True), LENGTHS, 1) is None
    run = run_of(tmp_path, exact=False)
    expected = [part for minibatch in minibatches(run, LENGTHS, 1, 0) for part in minibatch]
    assert first_micro_batches(run, LENGTHS, 1) == expected


def test_controller_is_adaptive_where_a_target_is_named() -> None:
    fixed = kl_controller(SimpleNamespace(kl_coef=0.25, kl_target=None, kl_horizon=10))  # type: ignore[arg-type]
    assert isinstance(fixed, FixedKLController)
    assert fixed.kl_coef == 0.25
    adaptive = kl_controller(SimpleNamespace(kl_coef=0.25, kl_target=2.0, kl_horizon=10))  # type: ignore[arg-type]
    assert isinstance(adaptive, AdaptiveKLController)
    adaptive.update(2.2, 5)  # 10 % above the target, half of the horizon: 0.25 · (1 + 0.1 · 5 / 10)
    assert adaptive.kl_coef == pytest.approx(0.2625)


@pytest.mark.parametrize(("value_rate", "expected"), [(None, [0.5, 0.5]), (0.125, [0.5, 0.125])])
def test_value_role_has_a_rate_of_its_own_or_that_of_the_policy(
    value_rate: float | None, expected: list[float]
) -> None:
    parameters = {"policy": nn.Parameter(torch.zeros(2)), "value": nn.Parameter(torch.zeros(3))}
    trunk: Any = SimpleNamespace(parameters_of=lambda role: [(role, parameters[role])])
    values: dict[str, Any] = {"model": "m", "prompts": "p", "rewards": [{"function": "a:b"}]}
    settings = PpoSettings.model_validate(
        {**values, "value_learning_rate": value_rate, "optimiser": {"learning_rate": 0.5}}
    )
    groups = ppo_optimiser(trunk, settings).param_groups
    assert [group["lr"] for group in groups] == expected
    assert [group["params"][0].numel() for group in groups] == [2, 3]


@pytest.mark.parametrize(
    ("exact", "half", "mismatch", "deviation", "fires"),
    [
        (True, False, 0.02, 0.0, ["sampler holds other weights"]),
        (False, False, 0.02, 0.0, []),
        (False, False, 0.02, 0.25, ["first ratio is not 1"]),
        (False, True, 0.02, 0.25, []),
        (False, True, 0.2, 0.75, ["first ratio is not 1", "sampler holds other weights"]),
    ],
)
def test_alarms_know_the_precision_of_a_run(
    exact: bool, half: bool, mismatch: float, deviation: float, fires: list[str], tmp_path: Path
) -> None:
    alarms = alarms_of(run_of(tmp_path, exact=exact, half=half), 0)
    row = {"step": 0, "mismatch/logps_mean": mismatch, "ratio/first_deviation": deviation}
    assert [alarm.alarm for alarm in alarms.check([row])] == fires


def test_alarms_after_some_steps_keep_what_fired_before_them(tmp_path: Path) -> None:
    run = run_of(tmp_path, exact=True)
    rows: list[dict[str, Any]] = [{"step": 0, "kl/exact": 3.0}, {"step": 1, "kl/exact": 3.0}]
    assert len(alarms_of(run, 0).check(rows[:1])) == 1
    assert alarms_of(run, 1).check(rows) == [], "fired in step 0"
    [again] = alarms_of(run, 0, kl_setting="beta").check(rows)
    assert again.setting == "beta"
    still = [{"step": step, "kl/exact": 0.0, "reward/mean": 0.0} for step in range(4)]
    assert [alarm.alarm for alarm in alarms_of(run, 0).check(still)] == ["hardly moved"], "at the last of four"
