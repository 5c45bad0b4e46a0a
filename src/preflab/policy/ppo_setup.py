"""What a PPO run is set up with, and when it stops: optimiser, KL controller, held-out criterion, limits."""

from __future__ import annotations

from typing import Protocol

import torch

from preflab.maths.kl import AdaptiveKLController, FixedKLController
from preflab.models.trunk import Trunk
from preflab.settings.ppo import PpoSettings, StopSettings
from preflab.training.optimiser import make_optimiser


class WithKl(Protocol):
    """Settings of a loop with a KL penalty."""

    @property
    def kl_coef(self) -> float: ...
    @property
    def kl_target(self) -> float | None: ...
    @property
    def kl_horizon(self) -> int: ...


class WithStop(Protocol):
    """Settings of a loop that may end before its last step."""

    @property
    def stop(self) -> StopSettings: ...


def ppo_optimiser(trunk: Trunk, settings: PpoSettings) -> torch.optim.AdamW:
    """AdamW over two groups: the policy role's parameters, and the value role's with a rate of its own."""
    rate = settings.optimiser.learning_rate
    groups = [
        ([p for _, p in trunk.parameters_of("policy")], rate),
        ([p for _, p in trunk.parameters_of("value")], settings.value_learning_rate or rate),
    ]
    return make_optimiser(groups, settings.optimiser)


def kl_controller(settings: WithKl) -> FixedKLController | AdaptiveKLController:
    """Adaptive where the settings name a target, else fixed."""
    if settings.kl_target is None:
        return FixedKLController(settings.kl_coef)
    return AdaptiveKLController(settings.kl_coef, settings.kl_target, settings.kl_horizon)


def measures_held_out(settings: WithStop, num_done: int) -> bool:
    """Whether the held-out criterion is due after this many steps."""
    return settings.stop.criterion is not None and num_done % settings.stop.every == 0


def stopped_before(settings: WithStop, rows: list[dict[str, float]], num_done: int) -> str | None:
    """Why the run that left this checkpoint had stopped, so that it stays stopped when it is called again."""
    last = next((row for row in rows if row["step"] == num_done - 1), None)
    return stop_reason(settings, last) if last else None


def stop_reason(settings: WithStop, values: dict[str, float]) -> str | None:
    """Which limit a step's metrics have reached, in words; None: none."""
    stop, held_out = settings.stop, values.get("score/held_out")
    if stop.threshold is not None and held_out is not None and held_out >= stop.threshold:
        return f"the held-out criterion reached {held_out:.3f} (threshold {stop.threshold:g})"
    if stop.max_kl is not None and values["kl/exact"] > stop.max_kl:
        return f"KL reached {values['kl/exact']:.2f} nats per completion (limit {stop.max_kl:g})"
    return None
