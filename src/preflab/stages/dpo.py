"""Stage `dpo`: a policy learns from preferences without a reward model; the result is a plain model folder (R9).

Files in the run folder:

metrics.jsonl, alarms.jsonl   step by step, see training/metrics.py
pairs/                        the numbers of a few held-out pairs, see training/record_columns.py
policy/                       the role (an adapter in peft's format, or all weights)
model/                        the policy as a Hugging Face folder, adapters merged
model/implicit_reward.json    how to compute a reward from this policy, see rewards/implicit.py

The reference's log-probabilities of the data are cached in `runs/.reference/` and shared by all runs with the same
reference weights and tokens.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.settings.dpo import DpoSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.pairs_to_keep import pairs_to_keep
from preflab.stages.common.preference_data import PreferenceData, read_preferences
from preflab.stages.common.preference_groups import FoundGroups, find_groups
from preflab.stages.common.prompt_sharing import may_share
from preflab.stages.common.stage_facts import StageFacts
from preflab.words import count, three_digits

if TYPE_CHECKING:
    from preflab.models.trunk import Role, Trunk
    from preflab.policy.dpo_groups import Group
    from preflab.rewards.rankings import Encoder
    from preflab.training.protocols import Sampler
    from preflab.training.token_limits import TokenLimits

VERSION = 3
distributed = True

CACHE = ".reference"
"""Folder in `runs/` that caches the reference's log-probabilities."""


def run(ctx: StageContext) -> StageResult:
    """Train, resuming from a checkpoint if there is one; save the policy role, the merged model and its reward card."""
    from preflab.policy.dpo import DpoRun, train_dpo
    from preflab.policy.dpo_logps import ReferenceCache
    from preflab.stages.common.learning import CHECKPOINT, save_language_model
    from preflab.training.processes import finish_trackers
    from preflab.training.row_order import steps_per_epoch

    asked = _Asked.of(ctx)
    settings, stage, accelerator = asked.settings, asked.stage, asked.accelerator
    base = _Base.load(asked)
    groups = find_groups(asked.data, base.encoder, settings, max_tokens=base.max_tokens)
    watched = _sample_prompts(groups.held_out, settings, base.max_tokens)
    lengths = _fix_longest(base.trunk, groups, watched, settings)
    dpo = DpoRun(
        trunk=base.trunk,
        settings=settings,
        groups=groups.train,
        held_out=groups.held_out,
        num_steps=settings.num_epochs * steps_per_epoch(len(groups.train), settings.num_groups_per_step),
        cache=ReferenceCache(
            stage.folder.parent / CACHE,
            base.reference_hash,
            _passes(asked),
            base.trunk.vocabulary,
            base.trunk.row_lengths.longest,
        ),
        folder=stage.folder,
        seed=stage.seed,
        name=stage.name,
        sampler=_engine(asked, base),
        sample_prompts=watched,
        kept_pairs=pairs_to_keep(asked.data, base.encoder, groups.held_out, groups.train, settings.num_kept_pairs),
        longest_row=_longest_row(base, settings),
        accelerator=accelerator,
    )
    train_dpo(dpo)
    if accelerator.is_main_process:
        save_language_model(stage.folder, base.trunk)
        base.save(asked)
        shutil.rmtree(stage.folder / CHECKPOINT, ignore_errors=True)
    accelerator.wait_for_everyone()
    finish_trackers(accelerator)
    return _result(stage.folder, groups, lengths)


@dataclass(frozen=True)
class _Asked:
    """The checked inputs of the stage, before a model is opened."""

    settings: DpoSettings
    stage: StageFacts
    data: PreferenceData
    start: Path | str
    """The model to be trained."""
    reference: Path | str | None
    """The reference model; None if it is `start`."""
    accelerator: Any

    @classmethod
    def of(cls, ctx: StageContext) -> _Asked:
        """Reads the preferences, locates the models, and starts the accelerator.

        Raises:
            PreflabError: preferences cannot be read, or a tracker is not installed.
        """
        from preflab.stages.common.learning import accelerator_for

        settings: DpoSettings = ctx.settings
        other = settings.reference
        return cls(
            settings=settings,
            stage=StageFacts.of(ctx),
            data=read_preferences(ctx, settings.preferences),
            start=ctx.model_folder(settings.model),
            reference=None if other in (None, settings.model) else ctx.model_folder(other),
            accelerator=accelerator_for(ctx, settings.run),
        )


def _fix_longest(
    trunk: Trunk, groups: FoundGroups, watched: Sequence[tuple[int, ...]], settings: DpoSettings
) -> dict[str, float]:
    """Fix rotary frequencies for the longest prompt with its completion, in the data and in the watched samples."""
    from preflab.stages.common.row_lengths import fix_row_lengths

    rows: list[Sized] = [s for group in (*groups.train, *groups.held_out) for s in group.sequences]
    rows += [range(len(ids) + settings.watch.decoding.max_new_tokens) for ids in watched]
    return fix_row_lengths(trunk.row_lengths, rows)


@dataclass
class _Base:
    """The model to be trained (the trunk with its policy role), and its reference."""

    trunk: Trunk
    weights_hash: str
    """Hash of the weights before training."""
    reference: Path | str
    reference_hash: str
    max_tokens: TokenLimits
    encoder: Encoder

    @classmethod
    def load(cls, asked: _Asked) -> _Base:
        """Opens the trunk. It gets a reference role only if the reference is another model or samples are watched."""
        from preflab.models.language_model import open_language_model
        from preflab.models.precision import weights_dtype
        from preflab.rewards.rankings import Encoder

        settings, reference = asked.settings, asked.reference or asked.start
        dtype = weights_dtype(asked.stage.precision, learns=settings.lora is None)
        opened = open_language_model(asked.start, dtype=dtype)
        start_hash = opened.base_hash()
        other = None if asked.reference is None else opened.another(asked.reference)
        reference_hash = start_hash if other is None else other.base_hash()
        kept = other is not None or settings.watch.num_samples > 0
        roles: tuple[Role, ...] = ("policy", "reference") if kept else ("policy",)
        facts, max_tokens = opened.facts, opened.limits(settings.max_tokens)
        seed, compute, packing = asked.stage.seed, asked.stage.precision, asked.stage.packing
        trunk = opened.trunk(roles, lora=settings.lora, seed=seed, reference=other, compute=compute, packing=packing)
        encoder = Encoder(opened.tokenizer, True, 2**31, facts.stop_token_ids, opened.reads_prompts_apart)
        return cls(trunk, start_hash, reference, reference_hash, max_tokens, encoder)

    def save(self, asked: _Asked) -> None:
        """Saves the policy role and its reward card; a reference in a local folder is given as a relative path."""
        from preflab.files import write_json
        from preflab.models.role_files import save_role
        from preflab.policy.dpo_losses import implicit_reward

        folder = asked.stage.folder
        save_role(self.trunk, "policy", folder / "policy", base=self.weights_hash if self.trunk.lora else "")
        local = Path(self.reference).is_dir()
        model = folder / "model"
        beside = os.path.relpath(Path(self.reference).resolve(), model.resolve())
        card = {
            "format": 1,
            **implicit_reward(asked.settings.losses).to_json(),
            "reference": beside if local else str(self.reference),
            "reference_hash": self.reference_hash,
        }
        if (storage := _reference_storage(asked)) != "as_loaded":
            card["reference_storage"] = storage
        write_json(model / "implicit_reward.json", card)


def _passes(asked: _Asked) -> str:
    """Names the precision of the reference's forward passes, part of the cache's key.

    With adapters the base weights are in half precision and round more than the float32 weights of full fine-tuning.
    """
    precision, quantised = asked.stage.precision, "" if _reference_storage(asked) == "as_loaded" else ", nf4 layers"
    if precision == "float32":
        return precision + quantised
    weights = "float32" if asked.settings.lora is None else precision
    return f"{precision} by autocast, {weights} weights{quantised}"


def _reference_storage(asked: _Asked) -> str:
    """`lora.base` if the policy's base with adapters off is the reference; another model is never quantised."""
    lora = asked.settings.lora
    return "as_loaded" if lora is None or asked.reference is not None else lora.base


def _engine(asked: _Asked, base: _Base) -> Sampler:
    """The engine that samples from the policy role."""
    from preflab.sampling.engines import EngineSource, make_engine

    stop_token_ids = base.encoder.renderer.stop_token_ids
    source = EngineSource.of_trunk(base.trunk, stop_token_ids, server=asked.stage.server)
    return make_engine(source, asked.stage.engine)


def _longest_row(base: _Base, settings: DpoSettings) -> int | None:
    """Most tokens of a row in which completions share their prompt; None if settings or model do not allow sharing."""
    if not (settings.share_prompts and may_share(base.trunk, "policy")):
        return None
    return min(settings.optimiser.tokens_per_micro_batch, base.max_tokens.both)


def _sample_prompts(groups: Sequence[Group], settings: DpoSettings, limits: TokenLimits) -> list[tuple[int, ...]]:
    """The token ids of the first `watch.num_samples` distinct held-out prompts that leave room for a completion.

    Raises:
        PreflabError: samples are wanted, but no held-out prompt leaves room.
    """
    prompts = list(dict.fromkeys(group.sequences[0].prompt_ids for group in groups))
    most = settings.watch.decoding.max_new_tokens
    fitting = [ids for ids in prompts if limits.room(len(ids)) >= most]
    if settings.watch.num_samples and prompts and not fitting:
        raise PreflabError(
            f"held-out prompts of {count(min(map(len, prompts)), 'token')} or more and watch.decoding.max_new_tokens "
            f"{most}",
            f"{limits.with_room()}, the model's context",
            "lower watch.decoding.max_new_tokens, or set watch.num_samples to 0",
        )
    return fitting[: settings.watch.num_samples]


def _result(folder: Path, groups: FoundGroups, further: Mapping[str, float]) -> StageResult:
    """The stage's figures and summary, from its files and the groups."""
    from preflab.files import read_jsonl
    from preflab.training.standstill import said_of_alarms

    rows, alarms = read_jsonl(folder / "metrics.jsonl"), read_jsonl(folder / "alarms.jsonl")
    last = rows[-1]
    figures: dict[str, Any] = {
        "num_steps": len(rows),
        "num_groups": len(groups.train),
        "num_held_out": len(groups.held_out),
        "num_equal_pairs": groups.num_equal,
        "num_alarms": len(alarms),
        **groups.long.figures,
        **further,
        **{name: last[name] for name in ("held_out/accuracy", "held_out/margin", "kl/exact") if name in last},
    }
    parts = [f"loss {three_digits(rows[0]['loss/total'])} → {three_digits(last['loss/total'])}"]
    if "held_out/accuracy" in last:
        parts.append(
            f"accuracy {three_digits(last['held_out/accuracy'])} on {count(len(groups.held_out), 'held-out group')}"
        )
    if "kl/exact" in last:
        parts.append(f"KL {three_digits(last['kl/exact'])} nats")
    if alarms:
        parts.append(count(len(alarms), "alarm"))
    return StageResult(", ".join(parts) + groups.long.said + said_of_alarms(alarms, last), figures)
