"""Shared by stages `reward` and `rating`: read the inputs, open the base model, and score to normalise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.settings.learning import RewardSettings
from preflab.settings.rating import RatingSettings
from preflab.stages.base import StageContext
from preflab.stages.common.preference_data import PreferenceData, read_preferences
from preflab.stages.common.stage_facts import StageFacts
from preflab.training.token_limits import NO_LIMIT

if TYPE_CHECKING:
    from torch import Tensor

    from preflab.models.trunk import Trunk
    from preflab.records import Completion, Prompt
    from preflab.rewards.rankings import Encoder
    from preflab.training.batches import TokenSequence
    from preflab.training.too_long import LongRows, TooLong


@dataclass(frozen=True)
class Asked:
    """The checked inputs of a stage that trains a reward model, before a model is opened."""

    settings: Any
    """`RewardSettings` or `RatingSettings`."""
    stage: StageFacts
    data: PreferenceData
    test_data: PreferenceData | None
    """The preferences of `test_preferences`; None without them."""
    reference: list[tuple[Prompt, Completion]]
    """The completions of the `reference` stage, used to normalise the scores; [] if that setting is None."""
    base: Path | str
    """The model to be trained."""
    accelerator: Any

    @property
    def origin(self) -> dict[str, Any]:
        """The origin of the training and test data, for the report."""
        return {"train": self.data.origin, "test": self.test_data.origin if self.test_data else None}


def ask(ctx: StageContext) -> Asked:
    """Read the preferences and the reference's completions, locate the model, and start the accelerator.

    Raises:
        PreflabError: preferences or completions cannot be used, or a tracker is not installed.
    """
    from preflab.stages.common.learning import accelerator_for

    settings = ctx.settings
    return Asked(
        settings=settings,
        stage=StageFacts.of(ctx),
        data=read_preferences(ctx, settings.preferences),
        test_data=read_preferences(ctx, settings.test_preferences) if settings.test_preferences else None,
        reference=ctx.prompted_completions(settings.reference) if settings.reference is not None else [],
        base=ctx.model_folder(settings.model),
        accelerator=accelerator_for(ctx, settings.run),
    )


@dataclass
class RewardBase:
    """The model to be trained as a reward model (the trunk with a reward role), and its text encoder."""

    ref: Path | str
    weights_hash: str
    trunk: Trunk
    encoder: Encoder

    @classmethod
    def load(cls, asked: Asked) -> RewardBase:
        """Opens the stage's model, a decoder or an encoder, and adds a new reward role."""
        from preflab.models.language_model import open_reader
        from preflab.models.packages import resolve_package
        from preflab.models.precision import weights_dtype
        from preflab.rewards.rankings import Encoder
        from preflab.rewards.score import is_decoder

        settings: RewardSettings | RatingSettings = asked.settings
        seed, precision, packing = asked.stage.seed, asked.stage.precision, asked.stage.packing
        folder = resolve_package(asked.base)
        causal = is_decoder(folder)
        dtype = weights_dtype(precision, learns=settings.lora is None)
        opened = open_reader(folder, dtype=dtype, causal=causal, writes=causal)
        limits, stops = opened.limits(settings.max_tokens), opened.facts.stop_token_ids if causal else ()
        weights = opened.base_hash()
        pooling = settings.pooling or ("last" if causal else "mean")
        trunk = opened.trunk(
            ("reward",), lora=settings.lora, seed=seed, pooling=pooling, compute=precision, packing=packing
        )
        apart, parts = opened.reads_prompts_apart, (limits.prompt, limits.completion)
        encoder = Encoder(opened.tokenizer, causal, limits.both, stops, apart, *parts)
        return cls(asked.base, weights, trunk, encoder)

    @property
    def uncut(self) -> Encoder:
        """The same encoder without cutting long rows."""
        return replace(self.encoder, max_tokens=NO_LIMIT, max_prompt=NO_LIMIT, max_completion=NO_LIMIT)

    def long_rows(self, too_long: TooLong) -> LongRows:
        """The handling of rows longer than the encoder allows; a cut removes the beginning, even of the completion."""
        from preflab.training.too_long import LongRows

        return LongRows(self.encoder.limits, too_long, cut=self.encoder.truncate)

    def save(self, folder: Path) -> None:
        """Save the reward model in `folder`; a local base is named by a relative path, so that a workspace can move."""
        from preflab.rewards.score import save_reward_model

        local = Path(self.ref).is_dir()
        base = os.path.relpath(Path(self.ref).resolve(), folder.resolve()) if local else str(self.ref)
        save_reward_model(self.trunk, folder, base=base, weights_hash=self.weights_hash, encoder=self.encoder)


def reference_sequences(asked: Asked, base: RewardBase) -> list[TokenSequence]:
    """The tokens of the completions used to normalise the scores."""
    return [base.encoder(prompt, completion) for prompt, completion in asked.reference]


def reference_scores(
    asked: Asked, base: RewardBase, samples: Sequence[TokenSequence], labelled: Sequence[Tensor]
) -> Tensor:
    """(N,) raw scores to be normalised to mean 0 and variance 1: of `samples`; without samples, those in `labelled`."""
    import torch

    from preflab.rewards.score import reward_scores

    if not samples:
        return torch.cat(list(labelled))
    return reward_scores(base.trunk, samples, asked.settings.optimiser.tokens_per_micro_batch)
