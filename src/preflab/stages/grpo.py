"""Stage `grpo`: the policy learns from completions of one prompt compared with one another (R17).

Left in the run folder:

metrics.jsonl, alarms.jsonl, rollouts.jsonl   step by step, see training/metrics.py
checkpoint/                                   kept, so that a raised num_steps goes on from here
policy/                                       the role (an adapter in peft's format)
model/                                        the policy as a Hugging Face folder, adapters merged
"""

from __future__ import annotations

from preflab.errors import PreflabError
from preflab.settings.grpo import GrpoSettings
from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.on_policy import ask, finish, open_run

VERSION = 2
distributed = True
resumable = ("num_steps",)


def run(ctx: StageContext) -> StageResult:
    """Train, resuming where there is a checkpoint; leave the role and the merged model behind."""
    from preflab.policy.grpo import train_grpo

    asked = ask(ctx)
    check_shares(asked.settings, asked.accelerator.num_processes)
    opened = open_run(asked, ("policy", "reference"))
    result = train_grpo(opened.run)
    return finish(asked, opened, result, ("policy",), algorithm=asked.settings.algorithm)


def check_shares(settings: GrpoSettings | OnlineDpoSettings, num_processes: int) -> None:
    """Every process needs a whole group in every minibatch: one without would not meet the others in the backward.

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
