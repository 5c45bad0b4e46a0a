"""Shared by the on-policy stages (ppo, grpo, online_dpo): read the inputs, open the model, save the result.

    asked  = ask(ctx)                     reads and checks all inputs of the stage before a model is opened
    opened = open_run(asked, roles)       opens the model in its roles, with engine, rewards and held-out criterion
    finish(asked, opened, result, roles)  saves the roles and the merged policy, and returns the stage's result

The settings of these stages all have `model`, `reference`, `lora`, `decoding`, `rewards`, `stop` and
`held_out_prompts`; those of ppo and grpo also `environment` (`episodes` in this folder).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.stage_facts import StageFacts
from preflab.words import count, three_digits

if TYPE_CHECKING:
    from torch import Tensor

    from preflab.models.trunk import Role, Trunk
    from preflab.policy.on_policy_run import HeldOut, OnPolicyRun, PromptIds, RunResult
    from preflab.records import Prompt
    from preflab.rewards.combine import WeightedSum
    from preflab.rewards.sources import PolicySide
    from preflab.training.protocols import Scorer
    from preflab.training.too_long import LongRows


@dataclass(frozen=True)
class Asked:
    """The checked inputs of an on-policy stage, before a model is opened."""

    settings: Any
    stage: StageFacts
    base: Path | str
    """The model to be trained."""
    reference: Path | str | None
    """The reference model; None if it is `base`."""
    prompts: list[Prompt]
    held_out: list[Prompt]
    """Prompts on which the held-out criterion is measured; empty without a criterion."""
    criterion: Scorer | None
    make_scorer: Callable[[PolicySide], WeightedSum]
    """Makes the scorer of the recipe's rewards for a policy."""
    accelerator: Any


@dataclass(frozen=True)
class Opened:
    """A run that is ready to train."""

    run: OnPolicyRun[Any]
    base_hash: str
    """Hash of the base weights, stored with saved adapters to identify their base."""
    long: LongRows
    """The prompts that were too long for the context."""
    figures: dict[str, float]
    """The figure `longest_row`, if rotary frequencies depend on the length; else empty."""


def ask(ctx: StageContext) -> Asked:
    """Read the prompts and the criterion, locate the models, and start the accelerator.

    Raises:
        PreflabError: prompts cannot be read, the criterion does not exist, or a tracker is not installed.
    """
    from preflab.rewards.functions import FunctionScorer, load_function
    from preflab.stages.common.episodes import asked_prompts
    from preflab.stages.common.learning import accelerator_for
    from preflab.stages.common.recipe_rewards import scorer_maker

    settings, other = ctx.settings, ctx.settings.reference
    measured = settings.stop.criterion is not None and settings.held_out_prompts is not None
    return Asked(
        settings=settings,
        stage=StageFacts.of(ctx),
        base=ctx.model_folder(settings.model),
        reference=None if other in (None, settings.model) else ctx.model_folder(other),
        prompts=asked_prompts(ctx),
        held_out=ctx.prompts(settings.held_out_prompts)[: settings.stop.num_prompts] if measured else [],
        criterion=FunctionScorer(load_function(settings.stop.criterion)) if measured else None,
        make_scorer=scorer_maker(ctx, tokens_per_batch=settings.optimiser.tokens_per_micro_batch),
        accelerator=accelerator_for(ctx, settings.run),
    )


def open_run(asked: Asked, roles: tuple[Role, ...]) -> Opened:
    """Open the model in its roles on the accelerator's device, with the sampling engine and the rewards.

    Raises:
        PreflabError: a model cannot be opened, prompts are too long for it, or a reward cannot be loaded.
    """
    from preflab.conversations.fitting_prompts import fitting_prompts, unread_prompts
    from preflab.conversations.renderer import Renderer
    from preflab.models.facts import token_limits
    from preflab.policy.on_policy_run import OnPolicyRun
    from preflab.rewards.sources import PolicySide
    from preflab.sampling.engines import EngineSource, make_engine
    from preflab.stages.common.episodes import longest_episode, make_episodes
    from preflab.stages.common.prompt_sharing import find_sharing
    from preflab.stages.common.row_lengths import fix_row_lengths

    settings = asked.settings
    num_new = settings.decoding.max_new_tokens
    trunk, base_hash = _open_trunk(asked, roles)
    policy = trunk.language_model("policy")
    renderer = Renderer.of(policy, trunk.tokenizer, settings.decoding.stop_token_ids)
    limits = token_limits(policy.config)
    environment = getattr(settings, "environment", None)
    # The prompts of an environment are read after its `reset`, and checked then.
    fit = functools.partial(
        fitting_prompts if environment is None else unread_prompts,
        renderer,
        max_new_tokens=num_new,
        limits=limits,
        too_long=settings.too_long,
    )
    learned = fit(asked.prompts)
    held_out = fit(asked.held_out).prompts if asked.held_out else []
    rows: list[Sized] = [ids for _, ids in [*learned.prompts, *held_out]]
    if environment is not None:
        rows = [range(longest_episode(environment, limits) - num_new)]
    longest = fix_row_lengths(trunk.row_lengths, rows, num_new)
    num_written = num_new if environment is None else longest_episode(environment, limits)
    source = EngineSource.of_trunk(
        trunk,
        renderer.stop_token_ids,
        keep_states=trunk.plain_because is None,
        keep_masks=True,
        server=asked.stage.server,
    )
    engine = make_engine(source, asked.stage.engine)
    run = OnPolicyRun(
        trunk=trunk,
        settings=settings,
        prompts=learned.prompts,
        sampler=engine,
        scorer=asked.make_scorer(PolicySide(trunk.tokenizer, trunk, base_hash, learned.prompts, num_written)),
        decode=renderer.decode,
        folder=asked.stage.folder,
        seed=asked.stage.seed,
        name=asked.stage.name,
        episodes=make_episodes(environment, renderer, engine, settings.decoding, limits),
        accelerator=asked.accelerator,
        sharing=find_sharing(
            trunk,
            "policy",
            share_prompts=getattr(settings, "share_prompts", False),
            tokens_per_micro_batch=settings.optimiser.tokens_per_micro_batch,
            limits=limits,
        ),
    )
    run.held_out = _held_out(asked, run, held_out)
    return Opened(run, base_hash, learned.long, longest)


def _open_trunk(asked: Asked, roles: tuple[Role, ...]) -> tuple[Trunk, str]:
    """The trunk with its reference, and the hash of its base weights before adapters are added."""
    from preflab.models.language_model import open_language_model
    from preflab.models.precision import weights_dtype

    lora, seed, precision = asked.settings.lora, asked.stage.seed, asked.stage.precision
    packing = asked.stage.packing
    opened = open_language_model(asked.base, dtype=weights_dtype(precision, learns=lora is None))
    other = None if asked.reference is None else opened.another(asked.reference)
    base_hash = opened.base_hash()
    trunk = opened.trunk(roles, lora=lora, seed=seed, reference=other, compute=precision, packing=packing)
    return trunk.to(asked.accelerator.device), base_hash


def _held_out(asked: Asked, run: OnPolicyRun[Any], prompts: PromptIds) -> HeldOut | None:
    """A function that measures the held-out criterion: mean and standard error, with the same prompts and seeds."""
    from preflab.policy.completion_groups import scoring_items
    from preflab.seeds import derive_seed

    criterion = asked.criterion
    if criterion is None:
        return None
    seeds = [derive_seed(asked.stage.seed, "held out", prompt.id) for prompt, _ in prompts]

    def measure(version: int) -> tuple[float, float | None]:
        run.sampler.sync(version)
        rollouts = run.sample(prompts, seeds=seeds, starts=seeds, rows=range(len(prompts)))
        run.sampler.release()
        return mean_and_error(criterion.score(scoring_items(rollouts)).total)

    return measure


def mean_and_error(scores: Tensor) -> tuple[float, float | None]:
    """Mean of (N,) scores and its standard error √(Σ (score − mean)² / (N − 1)) / √N; None for a single score."""
    num = len(scores)
    return float(scores.mean()), float(scores.std(correction=1)) / num**0.5 if num > 1 else None


def finish(asked: Asked, opened: Opened, result: RunResult, roles: Sequence[str], **further: Any) -> StageResult:
    """Save each role in a folder of its name (adapters in peft's format, heads) and the merged policy in `model/`."""
    from preflab.models.role_files import save_role
    from preflab.stages.common.learning import save_language_model
    from preflab.training.processes import finish_trackers

    trunk, accelerator, folder = opened.run.trunk, asked.accelerator, asked.stage.folder
    if accelerator.is_main_process:
        for role in roles:
            save_role(trunk, role, folder / role, base=opened.base_hash if trunk.lora else "")
        save_language_model(folder, trunk)
    accelerator.wait_for_everyone()
    finish_trackers(accelerator)
    return _result(folder, result, opened.long, **further, **opened.figures)


def _result(folder: Path, result: RunResult, long: LongRows, **further: Any) -> StageResult:
    """The stage's result, from the first and last rows of metrics.jsonl and from the alarms."""
    from preflab.files import read_jsonl
    from preflab.training.standstill import said_of_alarms

    rows = read_jsonl(folder / "metrics.jsonl")
    alarms = read_jsonl(folder / "alarms.jsonl")
    first, last = rows[0], rows[-1]
    figures: dict[str, Any] = {
        "num_steps": result.num_steps,
        "reward_first": first["reward/mean"],
        "reward_last": last["reward/mean"],
        "kl_last": last["kl/exact"],
        "num_alarms": len(alarms),
        "stopped_because": result.stopped_because,
        **long.figures,
        **further,
    }
    reward = f"reward {three_digits(first['reward/mean'])} → {three_digits(last['reward/mean'])}"
    told = f", {count(len(alarms), 'alarm')}" if alarms else ""
    summary = f"{reward}, KL {three_digits(last['kl/exact'])} nats{told}{long.said}"
    return StageResult(summary + said_of_alarms(alarms, last), figures)
