"""Stage `ppo`: the policy learns from a reward, and the result is a plain model folder (R12–R15).

Left in the run folder:

metrics.jsonl, alarms.jsonl, rollouts.jsonl   step by step, see training/metrics.py
checkpoint/                                   kept, so that a raised num_steps goes on from here
policy/, value/                               the roles (adapters in peft's format, heads)
model/                                        the policy as a Hugging Face folder, adapters merged
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.settings.ppo import PpoSettings
from preflab.stages.base import StageContext, StageResult

if TYPE_CHECKING:
    from preflab.models.trunk import Trunk
    from preflab.policy.ppo import PpoResult
    from preflab.records import Prompt
    from preflab.rewards.combine import WeightedSum
    from preflab.training.protocols import Sampler

VERSION = 1
distributed = True
resumable = ("num_steps",)


def run(ctx: StageContext) -> StageResult:
    """Train, resuming where there is a checkpoint; leave the roles and the merged model behind."""
    from preflab.models.chat import completion_text
    from preflab.models.facts import model_facts
    from preflab.policy.ppo import PpoRun, train_ppo
    from preflab.rewards.sources import PolicySide, make_scorer
    from preflab.sampling.engine import TransformersEngine
    from preflab.stages.learning import accelerator_for, save_language_model

    settings: PpoSettings = ctx.settings
    base = ctx.model_folder(settings.model)
    trunk, trunk_hash = _trunk(ctx, base)
    accelerator = accelerator_for(ctx, settings.run)
    check_shares(settings, accelerator.num_processes)
    trunk.to(accelerator.device)
    scorer = make_scorer(
        settings.rewards,
        ctx.model_folder,
        PolicySide(trunk.tokenizer, trunk, trunk_hash),
        dtype=ctx.device.dtype,
        tokens_per_batch=settings.optimiser.tokens_per_micro_batch,
    )
    value_start = _start_value(settings, trunk, scorer)
    policy = trunk.language_model("policy")
    stops = settings.decoding.stop_token_ids or model_facts(policy, trunk.tokenizer).stop_token_ids
    decode = functools.partial(completion_text, trunk.tokenizer, stop_token_ids=stops)
    engine = TransformersEngine(
        policy,
        pad_id=trunk.pad_id,
        stop_token_ids=stops,
        tokenizer=trunk.tokenizer,
        role=functools.partial(trunk.role, "policy"),
    )
    prompts = _fitting(ctx, trunk, settings.prompts)
    ppo = PpoRun(
        trunk=trunk,
        settings=settings,
        prompts=prompts,
        sampler=engine,
        scorer=scorer,
        decode=decode,
        folder=ctx.folder,
        seed=ctx.seed,
        name=ctx.name,
        held_out=_held_out(ctx, trunk, engine, decode),
        accelerator=accelerator,
    )
    engine.policy_version = lambda: ppo.num_updates
    result = train_ppo(ppo)
    if accelerator.is_main_process:
        _save_roles(trunk, ctx.folder, trunk_hash)
        save_language_model(ctx, trunk)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return _result(ctx, result, value_start)


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


def _trunk(ctx: StageContext, base: Path | str) -> tuple[Trunk, str]:
    """The policy's trunk with its value role and its reference, and the hash of its base weights."""
    from preflab.models.facts import weights_hash
    from preflab.models.loading import load_causal_lm, load_tokenizer
    from preflab.models.trunk import Role, Trunk

    settings: PpoSettings = ctx.settings
    tokenizer = load_tokenizer(base)
    model = load_causal_lm(base, dtype=ctx.device.dtype)
    named = settings.reference
    other = None
    if named is not None and named != settings.model:
        other = load_causal_lm(ctx.model_folder(named), dtype=ctx.device.dtype)
    base_hash = weights_hash(base if Path(base).is_dir() else model)
    roles: tuple[Role, ...] = ("policy", "reference", "value")
    trunk = Trunk(model, tokenizer, lora=settings.lora, roles=roles, seed=ctx.seed, reference=other)
    return trunk, base_hash


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


def _fitting(
    ctx: StageContext, trunk: Trunk, name: str, num: int | None = None
) -> list[tuple[Prompt, tuple[int, ...]]]:
    """The (first `num`) prompts of a name with their token ids; each leaves room for its completion."""
    from preflab.models.chat import fitting_prompt_ids
    from preflab.models.facts import model_facts

    prompts = ctx.prompts(name)[:num]
    context = model_facts(trunk.language_model("policy"), trunk.tokenizer).context_length
    most = ctx.settings.decoding.max_new_tokens
    ids = fitting_prompt_ids(trunk.tokenizer, prompts, max_new_tokens=most, context_length=context)
    return list(zip(prompts, ids, strict=True))


def _held_out(
    ctx: StageContext, trunk: Trunk, engine: Sampler, decode: Callable[[Sequence[int]], str]
) -> Callable[[], tuple[float, float]] | None:
    """The held-out criterion: mean and standard error over the same prompts and seeds each time it is measured."""
    from preflab.rewards.functions import FunctionScorer, load_function
    from preflab.seeds import derive_seed
    from preflab.training.protocols import SampleRequest, ScoringItem

    settings: PpoSettings = ctx.settings
    if settings.stop.criterion is None or settings.held_out_prompts is None:
        return None
    scorer = FunctionScorer(load_function(settings.stop.criterion))
    chosen = _fitting(ctx, trunk, settings.held_out_prompts, settings.stop.num_prompts)
    prompts = [prompt for prompt, _ in chosen]
    requests = [SampleRequest(ids, derive_seed(ctx.seed, "held out", prompt.id)) for prompt, ids in chosen]

    def measure() -> tuple[float, float]:
        sampled = engine.sample(requests, settings.decoding)
        items = [
            ScoringItem(prompt, decode(one.token_ids), request.prompt_ids, one.token_ids, one.finish_reason)
            for prompt, request, one in zip(prompts, requests, sampled, strict=True)
        ]
        total = scorer.score(items).total
        return float(total.mean()), float(total.std(correction=0)) / len(total) ** 0.5

    return measure


def _save_roles(trunk: Trunk, folder: Path, base: str) -> None:
    from preflab.models.role_files import save_role

    for role in ("policy", "value"):
        save_role(trunk, role, folder / role, base=base if trunk.lora else "")


def _result(ctx: StageContext, result: PpoResult, value_start: str) -> StageResult:
    from preflab.files import read_jsonl

    rows = read_jsonl(ctx.folder / "metrics.jsonl")
    alarms = read_jsonl(ctx.folder / "alarms.jsonl")
    first, last = rows[0], rows[-1]
    figures: dict[str, Any] = {
        "num_steps": result.num_steps,
        "reward_first": first["reward/mean"],
        "reward_last": last["reward/mean"],
        "kl_last": last["kl/exact"],
        "num_alarms": len(alarms),
        "stopped_because": result.stopped_because,
        "value_started_from": value_start,
    }
    summary = f"reward {first['reward/mean']:.2f} → {last['reward/mean']:.2f}, KL {last['kl/exact']:.1f} nats"
    return StageResult(summary + (f", {len(alarms)} alarms" if alarms else ""), figures)
