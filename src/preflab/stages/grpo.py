"""Stage `grpo`: the policy learns by comparing the rewards of several completions of the same prompt (R17).

Files in the run folder:

metrics.jsonl, alarms.jsonl   step by step, see training/metrics.py
rollouts/                     a few rollouts of each step, see training/record_columns.py
checkpoint/                   kept, so that a higher num_steps continues from it
policy/                       the role (an adapter in peft's format)
model/                        the policy as a Hugging Face folder, adapters merged
"""

from __future__ import annotations

from preflab.errors import PreflabError
from preflab.settings.grpo import GrpoSettings
from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.on_policy import ask, finish, open_run

VERSION = 2
distributed = True
resumable = ("num_steps",)


def run(ctx: StageContext) -> StageResult:
    """Train, resuming from a checkpoint if there is one; save the policy role and the merged model."""
    from preflab.policy.grpo import train_grpo

    asked = ask(ctx)
    check_shares(asked.settings, asked.accelerator.num_processes)
    opened = open_run(asked, ("policy", "reference"))
    result = train_grpo(opened.run)
    return finish(asked, opened, result, ("policy",), algorithm=asked.settings.algorithm)


def check_shares(settings: GrpoSettings | OnlineDpoSettings, num_processes: int) -> None:
    """Checks that every process gets a whole group in every minibatch; one without would miss the collective backward.

    Raises:
        PreflabError: there are too few prompts for so many processes and minibatches.
    """
    least = num_processes * settings.num_minibatches
    if settings.num_prompts_per_step < least:
        raise PreflabError(
            f"num_prompts_per_step {settings.num_prompts_per_step} for {num_processes} processes"
            f" and num_minibatches {settings.num_minibatches}",
            f"at least {least}, one per process and minibatch",
            "raise num_prompts_per_step, or start fewer processes",
        )
