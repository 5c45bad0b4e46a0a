"""Stage `ppo`: the policy learns from a reward, and the result is a plain model folder (R12–R15).

Files in the run folder:

metrics.jsonl, alarms.jsonl   step by step, see training/metrics.py
rollouts/                     a few rollouts of each step, see training/record_columns.py
checkpoint/                   kept, so that a higher num_steps continues from it
policy/, value/               the roles (adapters in peft's format, heads)
model/                        the policy as a Hugging Face folder, adapters merged
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from preflab.errors import PreflabError
from preflab.settings.ppo import PpoSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.on_policy import ask, finish, open_run

if TYPE_CHECKING:
    from preflab.policy.on_policy_run import OnPolicyRun

VERSION = 2
distributed = True
resumable = ("num_steps",)


def run(ctx: StageContext) -> StageResult:
    """Train, resuming from a checkpoint if there is one; save the roles and the merged model."""
    from preflab.policy.ppo import train_ppo

    asked = ask(ctx)
    check_shares(asked.settings, asked.accelerator.num_processes)
    opened = open_run(asked, ("policy", "reference", "value"))
    value_start = _start_value(asked.settings, opened.run)
    result = train_ppo(opened.run)
    return finish(asked, opened, result, ("policy", "value"), value_started_from=value_start)


def check_shares(settings: PpoSettings, num_processes: int) -> None:
    """Checks that every process gets a completion in every minibatch; one without would miss the collective backward.

    Raises:
        PreflabError: there are too few completions for so many processes and minibatches.
    """
    least = num_processes * settings.num_minibatches
    if settings.num_completions_per_step < least:
        raise PreflabError(
            f"num_completions_per_step {settings.num_completions_per_step} for {num_processes} processes"
            f" and num_minibatches {settings.num_minibatches}",
            f"at least {least}, one per process and minibatch",
            "raise num_completions_per_step, or start fewer processes",
        )


def _start_value(settings: PpoSettings, run: OnPolicyRun[PpoSettings]) -> str:
    """Initialise the value role as the settings say; returns `reward model` or `zero head`."""
    from preflab.models.role_files import init_value_from_reward
    from preflab.rewards.combine import WeightedSum
    from preflab.rewards.score import RewardModelScorer

    if settings.value_init == "reward":
        for term in cast(WeightedSum, run.scorer).terms:
            source = term.scorer.trunk if isinstance(term.scorer, RewardModelScorer) else None
            if source is not None and source.causal and init_value_from_reward(run.trunk, source):
                return "reward model"
    return "zero head"
