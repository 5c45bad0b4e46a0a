"""Ends every step of an on-policy run: held-out criterion, kept rollouts, metrics, alarms, checkpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from preflab.policy.kept_rollouts import RolloutRecord
from preflab.policy.on_policy_run import OnPolicyRun, RunResult
from preflab.policy.on_policy_setup import alarms_of
from preflab.policy.stopping import held_out_values, measures_held_out, stop_reason, stopped_before
from preflab.training.alarms import Alarm
from preflab.training.metrics import MetricsLog
from preflab.training.rollouts import Rollouts
from preflab.training.state import RunState
from preflab.words import count


class StepClock:
    """Measures the seconds of each part of a step; starts when created."""

    def __init__(self) -> None:
        self.started = self.lap_started = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, part: str) -> None:
        """End the current part, named `part`, and begin the next."""
        now = time.perf_counter()
        self.seconds[f"time/{part}"], self.lap_started = now - self.lap_started, now

    def metrics(self, num_tokens: float) -> dict[str, float]:
        """Seconds of each part and of the step so far (`time/…`), and completion tokens per second."""
        step = time.perf_counter() - self.started
        return {**self.seconds, "time/step": step, "tokens/s": num_tokens / step}


class StepLog:
    """Writes the files of a run and decides whether it continues. A resumed run's files are cut back to its checkpoint.

    Args:
        run: the run.
        state: its state, loaded from the checkpoint; `state.step` steps are done.
        kl_setting: name of the setting that weighs the KL; alarms name it as the one to change.
    """

    def __init__(self, run: OnPolicyRun[Any], state: RunState, *, kl_setting: str = "kl_coef") -> None:
        self.run, self.state = run, state
        self.metrics = MetricsLog(run.folder / "metrics.jsonl", step=state.step)
        self.alarms = alarms_of(run, state.step, kl_setting=kl_setting)
        self.record = RolloutRecord(run, state.step)
        self.fired: list[Alarm] = []
        self.updates_per_step = run.settings.num_epochs * run.settings.num_minibatches
        run.num_updates = state.step * self.updates_per_step
        self.stopped = stopped_before(run.settings, self.metrics.rows(), state.step)

    @property
    def goes_on(self) -> bool:
        """Whether the run takes another step."""
        return self.state.step < self.run.settings.num_steps and self.stopped is None

    def ask_alternatives(self, rollouts: Rollouts) -> None:
        """Ask the policy for alternatives to the tokens of the kept rollouts; call it before the update."""
        if self.run.accelerator.is_main_process:
            self.record.ask_alternatives(self.state.step, rollouts)

    def end_step(
        self,
        values: dict[str, float],
        rollouts: Rollouts,
        scores: Tensor,
        terms: Mapping[str, Tensor],
        learned: Mapping[str, Tensor],
    ) -> None:
        """Count the step, measure the held-out criterion if due, write the files, and check the limits that end a run.

        Args:
            values: the step's metrics.
            rollouts: its completions; the first ones are kept for people to read.
            scores: (B,) rewards, kept with the rollouts.
            terms: (B,) terms of the rewards by name, kept with the rollouts.
            learned: (B, T) numbers that the loop made of the rewards, kept with the rollouts: advantages, and for PPO
                values and returns.
        """
        run, settings, step = self.run, self.run.settings, self.state.step
        self.state.step += 1
        run.num_updates += self.updates_per_step
        if measures_held_out(settings, self.state.step) and run.held_out is not None:
            values = values | held_out_values(*run.held_out(run.num_updates))
        if run.accelerator.is_main_process:
            clock = StepClock()
            self.record.write(step, rollouts, scores, terms, learned)
            clock.lap("record")
            values = values | clock.seconds
            self.metrics.write(step, values)
            self.fired += self.alarms.check(self.metrics.rows())
        run.accelerator.log(values, step=step)
        self.stopped = stop_reason(settings, values)
        if run.accelerator.is_main_process and (not self.goes_on or self.state.step % settings.run.save_every == 0):
            self.state.save(run.folder / "checkpoint")

    def result(self) -> RunResult:
        """The result of the run; call it after the last step."""
        all_done = f"{count(self.run.settings.num_steps, 'step is', 'steps are')} done"
        return RunResult(self.state.step, self.stopped or all_done, self.fired)
