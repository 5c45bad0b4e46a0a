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
    from preflab.policy.grpo import GrpoRun, train_grpo
    from preflab.stages.learning import accelerator_for

    settings: GrpoSettings = ctx.settings
    trunk, trunk_hash = load_trunk(ctx, ctx.model_folder(settings.model), ("policy", "reference"))
    accelerator = accelerator_for(ctx, settings.run)
    check_shares(settings, accelerator.num_processes)
    trunk.to(accelerator.device)
    writing = policy_writing(ctx, trunk)
    asked = prompts_to_learn_from(ctx, trunk, writing, settings.prompts)
    lengths = fix_longest(ctx, trunk, writing, asked)
    scorer = policy_scorer(ctx, trunk, trunk_hash, asked.prompts)
    grpo = GrpoRun(
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
    result = train_grpo(grpo)
    finish_policy(ctx, trunk, trunk_hash, accelerator)
    further = {"algorithm": settings.algorithm, **lengths}
    return policy_result(ctx, result.num_steps, result.stopped_because, asked.long, **further)


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
