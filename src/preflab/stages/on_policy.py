"""What the stages that sample while they learn share: trunk, engine, prompts, held-out criterion, what is left behind.

The settings of these stages all have `model`, `reference`, `lora`, `decoding`, `stop` and `held_out_prompts`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.stages.base import StageContext, StageResult
from preflab.words import count, three_digits

if TYPE_CHECKING:
    from torch import Tensor

    from preflab.conversations.fitting import FittingPrompts
    from preflab.conversations.renderer import Renderer
    from preflab.models.trunk import Role, Trunk
    from preflab.records import Prompt
    from preflab.rewards.combine import WeightedSum
    from preflab.training.protocols import Decode, Sampler, ScoringItem
    from preflab.training.too_long import LongRows


def load_trunk(ctx: StageContext, base: Path | str, roles: tuple[Role, ...]) -> tuple[Trunk, str]:
    """The policy's trunk with its roles and its reference, and the hash of its base weights."""
    from preflab.models.language_model import open_language_model
    from preflab.models.precision import weights_dtype

    settings = ctx.settings
    opened = open_language_model(base, dtype=weights_dtype(ctx.precision, learns=settings.lora is None))
    named = settings.reference
    has_other = named is not None and named != settings.model
    other = opened.another(ctx.model_folder(named)) if has_other else None
    trunk_hash = opened.base_hash()
    trunk = opened.trunk(roles, lora=settings.lora, seed=ctx.seed, reference=other, compute=ctx.precision)
    return trunk, trunk_hash


@dataclass(frozen=True)
class Writing:
    """How a policy writes."""

    engine: Sampler
    decode: Decode
    renderer: Renderer


def policy_writing(ctx: StageContext, trunk: Trunk) -> Writing:
    """The engine that samples from the trunk's policy role, with its stop tokens."""
    from preflab.conversations.renderer import Renderer
    from preflab.sampling.engines import EngineSource, make_engine

    policy = trunk.language_model("policy")
    renderer = Renderer.of(policy, trunk.tokenizer, ctx.settings.decoding.stop_token_ids)
    source = EngineSource.of_trunk(trunk, renderer.stop_token_ids, keep_states=trunk.plain_because is None)
    return Writing(make_engine(source, ctx.device.engine), renderer.decode, renderer)


def policy_scorer(
    ctx: StageContext, trunk: Trunk, trunk_hash: str, prompts: Sequence[tuple[Prompt, tuple[int, ...]]]
) -> WeightedSum:
    """The recipe's rewards for completions of some prompts; a reward adapter on the same base joins the trunk."""
    from preflab.rewards.sources import PolicySide, make_scorer
    from preflab.stages.judge_reward import judge_scorer

    return make_scorer(
        ctx.settings.rewards,
        ctx.model_folder,
        PolicySide(trunk.tokenizer, trunk, trunk_hash, prompts, ctx.settings.decoding.max_new_tokens),
        reference_items=functools.partial(reference_items, ctx),
        judges=functools.partial(judge_scorer, ctx),
        dtype=ctx.precision,
        tokens_per_batch=ctx.settings.optimiser.tokens_per_micro_batch,
    )


def reference_items(ctx: StageContext, stage: str) -> list[ScoringItem]:
    """The completions of a stage, as text to be scored."""
    from preflab.training.protocols import ScoringItem

    completions = ctx.completions(stage)
    prompts = {prompt.id: prompt for prompt in ctx.workspace.prompts(sorted({c.prompt_id for c in completions}))}
    return [ScoringItem.of(prompts[c.prompt_id], c) for c in completions]


def prompts_to_learn_from(
    ctx: StageContext, trunk: Trunk, writing: Writing, name: str, num: int | None = None
) -> FittingPrompts:
    """The (first `num`) prompts of a name with their token ids; each leaves room for its completion."""
    from preflab.conversations.fitting import fitting_prompts
    from preflab.models.facts import model_facts

    return fitting_prompts(
        writing.renderer,
        ctx.prompts(name)[:num],
        max_new_tokens=ctx.settings.decoding.max_new_tokens,
        context_length=model_facts(trunk.language_model("policy"), trunk.tokenizer).context_length,
        too_long=ctx.settings.too_long,
    )


def fix_longest(ctx: StageContext, trunk: Trunk, writing: Writing, asked: FittingPrompts) -> dict[str, float]:
    """The figure `longest_row` where rotary frequencies depend on it; they are then fixed for the trunk's roles.

    The longest row is that of the prompts to learn from and of the held-out ones, with max_new_tokens more.
    """
    from preflab.stages.row_lengths import fix_row_lengths

    if not trunk.row_lengths:
        return {}
    ids = [ids for _, ids in [*asked.prompts, *_held_out_prompts(ctx, trunk, writing)]]
    return fix_row_lengths(trunk.row_lengths, ids, ctx.settings.decoding.max_new_tokens)


def _held_out_prompts(ctx: StageContext, trunk: Trunk, writing: Writing) -> list[tuple[Prompt, tuple[int, ...]]]:
    """Those that the held-out criterion is measured on; none without one."""
    settings = ctx.settings
    if settings.stop.criterion is None or settings.held_out_prompts is None:
        return []
    return prompts_to_learn_from(ctx, trunk, writing, settings.held_out_prompts, settings.stop.num_prompts).prompts


def held_out_criterion(
    ctx: StageContext, trunk: Trunk, writing: Writing
) -> Callable[[int], tuple[float, float | None]] | None:
    """The held-out criterion: mean and standard error over the same prompts and seeds each time it is measured."""
    from preflab.rewards.functions import FunctionScorer, load_function
    from preflab.seeds import derive_seed
    from preflab.training.protocols import SampleRequest, ScoringItem

    settings = ctx.settings
    if settings.stop.criterion is None or settings.held_out_prompts is None:
        return None
    scorer = FunctionScorer(load_function(settings.stop.criterion))
    chosen = _held_out_prompts(ctx, trunk, writing)
    requests = [SampleRequest(ids, derive_seed(ctx.seed, "held out", prompt.id)) for prompt, ids in chosen]

    def measure(version: int) -> tuple[float, float | None]:
        writing.engine.sync(version)
        sampled = writing.engine.sample(requests, settings.decoding)
        writing.engine.release()
        items = [
            ScoringItem(prompt, writing.decode(one.token_ids, prompt), ids, one.token_ids, one.finish_reason)
            for (prompt, ids), one in zip(chosen, sampled, strict=True)
        ]
        return mean_and_error(scorer.score(items).total)

    return measure


def mean_and_error(scores: Tensor) -> tuple[float, float | None]:
    """Mean of (N,) scores and its standard error √(Σ (score − mean)² / (N − 1)) / √N; None for a single score."""
    num = len(scores)
    return float(scores.mean()), float(scores.std(correction=1)) / num**0.5 if num > 1 else None


def save_roles(trunk: Trunk, folder: Path, base: str, roles: Sequence[str]) -> None:
    """Each role with weights of its own in a folder of its name: adapters in peft's format, heads."""
    from preflab.models.role_files import save_role

    for role in roles:
        save_role(trunk, role, folder / role, base=base if trunk.lora else "")


def finish_policy(
    ctx: StageContext, trunk: Trunk, trunk_hash: str, accelerator: Any, roles: Sequence[str] = ("policy",)
) -> None:
    """Leave the roles and the merged policy behind, once."""
    from preflab.stages.learning import save_language_model

    if accelerator.is_main_process:
        save_roles(trunk, ctx.folder, trunk_hash, roles)
        save_language_model(ctx, trunk)
    accelerator.wait_for_everyone()
    accelerator.end_training()


def policy_result(
    ctx: StageContext, num_steps: int, stopped_because: str, long: LongRows, **further: Any
) -> StageResult:
    """What the run's files say of its beginning and its end."""
    from preflab.files import read_jsonl
    from preflab.training.standstill import said_of_alarms

    rows = read_jsonl(ctx.folder / "metrics.jsonl")
    alarms = read_jsonl(ctx.folder / "alarms.jsonl")
    first, last = rows[0], rows[-1]
    figures: dict[str, Any] = {
        "num_steps": num_steps,
        "reward_first": first["reward/mean"],
        "reward_last": last["reward/mean"],
        "kl_last": last["kl/exact"],
        "num_alarms": len(alarms),
        "stopped_because": stopped_because,
        **long.figures,
        **further,
    }
    reward = f"reward {three_digits(first['reward/mean'])} → {three_digits(last['reward/mean'])}"
    told = f", {count(len(alarms), 'alarm')}" if alarms else ""
    summary = f"{reward}, KL {three_digits(last['kl/exact'])} nats{told}{long.said}"
    return StageResult(summary + said_of_alarms(alarms, last), figures)
