"""Stage `online_dpo`: DPO on pairs that the policy samples during training, labelled by the recipe's rewards.

Files in the run folder: the same as those of stage `grpo`.
"""

from __future__ import annotations

from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.on_policy import ask, finish, open_run
from preflab.stages.grpo import check_shares

VERSION = 2
distributed = True
resumable = ("num_steps",)


def run(ctx: StageContext) -> StageResult:
    """Train, resuming from a checkpoint if there is one; save the policy role and the merged model."""
    from preflab.policy.online_dpo import train_online_dpo

    asked = ask(ctx)
    check_shares(asked.settings, asked.accelerator.num_processes)
    opened = open_run(asked, ("policy", "reference"))
    result = train_online_dpo(opened.run)
    return finish(asked, opened, result, ("policy",))
