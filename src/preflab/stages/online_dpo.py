"""Stage `online_dpo`: DPO on pairs the policy writes while it learns, labelled by the recipe's rewards.

Left in the run folder: what stage `grpo` leaves.
"""

from __future__ import annotations

from preflab.stages.base import StageContext, StageResult
from preflab.stages.grpo import check_shares
from preflab.stages.on_policy import ask, finish, open_run

VERSION = 2
distributed = True
resumable = ("num_steps",)


def run(ctx: StageContext) -> StageResult:
    """Train, resuming where there is a checkpoint; leave the role and the merged model behind."""
    from preflab.policy.online_dpo import train_online_dpo

    asked = ask(ctx)
    check_shares(asked.settings, asked.accelerator.num_processes)
    opened = open_run(asked, ("policy", "reference"))
    result = train_online_dpo(opened.run)
    return finish(asked, opened, result, ("policy",))
