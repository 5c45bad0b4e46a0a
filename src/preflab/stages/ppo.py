"""Stage `ppo`: the policy learns from a reward, and the result is a plain model folder (R12–R15).

Left in the run folder:

metrics.jsonl, alarms.jsonl, rollouts.jsonl   step by step, see training/metrics.py
checkpoint/                                   kept, so that a raised num_steps goes on from here
policy/, value/                               the roles (adapters in peft's format, heads)
model/                                        the policy as a Hugging Face folder, adapters merged
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from preflab.errors import PreflabError
from preflab.settings.ppo import PpoSettings
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

if TYPE_CHECKING:
    from preflab.models.trunk import Trunk
    from preflab.rewards.combine import WeightedSum

VERSION = 2
distributed = True
resumable = ("num_steps",)


def run(ctx: StageContext) -> StageResult:
    """Train, resuming where there is a checkpoint; leave the roles and the merged model behind."""
    from preflab.policy.ppo import PpoRun, train_ppo
    from preflab.stages.learning import accelerator_for

    settings: PpoSettings = ctx.settings
    trunk, trunk_hash = load_trunk(ctx, ctx.model_folder(settings.model), ("policy", "reference", "value"))
    accelerator = accelerator_for(ctx, settings.run)
    check_shares(settings, accelerator.num_processes)
    trunk.to(accelerator.device)
    writing = policy_writing(ctx, trunk)
    asked = prompts_to_learn_from(ctx, trunk, writing, settings.prompts)
    lengths = fix_longest(ctx, trunk, writing, asked)
    scorer = policy_scorer(ctx, trunk, trunk_hash, asked.prompts)
    value_start = _start_value(settings, trunk, scorer)
    ppo = PpoRun(
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
    result = train_ppo(ppo)
    finish_policy(ctx, trunk, trunk_hash, accelerator, ("policy", "value"))
    further = {"value_started_from": value_start, **lengths}
    return policy_result(ctx, result.num_steps, result.stopped_because, asked.long, **further)


def check_shares(settings: PpoSettings, num_processes: int) -> None:
    """Every process needs a completion in every minibatch: one without would not meet the others in the backward.

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


def _start_value(settings: PpoSettings, trunk: Trunk, scorer: WeightedSum) -> str:
    """Start the value role as the settings say; returns how it was started."""
    from preflab.models.role_files import init_value_from_reward
    from preflab.rewards.score import RewardModelScorer

    if settings.value_init == "reward":
        for term in scorer.terms:
            source = term.scorer.trunk if isinstance(term.scorer, RewardModelScorer) else None
            if source is not None and source.causal and init_value_from_reward(trunk, source):
                return "reward model"
    return "zero head"
