"""Stage `online_dpo`: DPO on pairs the policy writes while it learns, labelled by the recipe's rewards.

Left in the run folder: what stage `grpo` leaves.
"""

from __future__ import annotations

from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.grpo import check_shares
from preflab.stages.on_policy import (
    finish_policy,
    fix_longest,
    held_out_criterion,
    load_trunk,
    policy_result,
    policy_scorer,
    policy_writing,
    prompts_to_learn_from,
)

VERSION = 2
distributed = True
resumable = ("num_steps",)


def run(ctx: StageContext) -> StageResult:
    """Train, resuming where there is a checkpoint; leave the role and the merged model behind."""
    from preflab.policy.online_dpo import OnlineDpoRun, train_online_dpo
    from preflab.stages.learning import accelerator_for

    settings: OnlineDpoSettings = ctx.settings
    trunk, trunk_hash = load_trunk(ctx, ctx.model_folder(settings.model), ("policy", "reference"))
    accelerator = accelerator_for(ctx, settings.run)
    check_shares(settings, accelerator.num_processes)
    trunk.to(accelerator.device)
    writing = policy_writing(ctx, trunk)
    asked = prompts_to_learn_from(ctx, trunk, writing, settings.prompts)
    lengths = fix_longest(ctx, trunk, writing, asked)
    scorer = policy_scorer(ctx, trunk, trunk_hash, asked.prompts)
    online = OnlineDpoRun(
        trunk=trunk,
        settings=settings,
        prompts=asked.prompts,
        sampler=writing.engine,
        scorer=scorer,
        decode=writing.decode,
        folder=ctx.folder,
        seed=ctx.seed,
        name=ctx.name,
        held_out=held_out_criterion(ctx, trunk, writing),
        accelerator=accelerator,
    )
    result = train_online_dpo(online)
    finish_policy(ctx, trunk, trunk_hash, accelerator)
    return policy_result(ctx, result.num_steps, result.stopped_because, asked.long, **lengths)
