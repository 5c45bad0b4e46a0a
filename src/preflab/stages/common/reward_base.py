"""Shared by stages `reward` and `rating`: opens the base model, and scores the completions used to normalise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.settings.learning import RewardSettings
from preflab.settings.rating import RatingSettings
from preflab.stages.base import StageContext

if TYPE_CHECKING:
    from torch import Tensor

    from preflab.models.trunk import Trunk
    from preflab.rewards.rankings import Encoder
    from preflab.training.batches import TokenSequence
    from preflab.training.too_long import LongRows, TooLong


@dataclass
class RewardBase:
    """The model to be trained as a reward model (the trunk with a reward role), and its text encoder."""

    ref: Path | str
    weights_hash: str
    trunk: Trunk
    encoder: Encoder

    @classmethod
    def load(cls, ctx: StageContext) -> RewardBase:
        """Opens the stage's model, a decoder or an encoder, and adds a new reward role."""
        from preflab.models.language_model import open_reader
        from preflab.models.packages import resolve_package
        from preflab.models.precision import weights_dtype
        from preflab.rewards.rankings import Encoder
        from preflab.rewards.score import is_decoder

        settings: RewardSettings | RatingSettings = ctx.settings
        named = ctx.model_folder(settings.model)
        folder = resolve_package(named)
        causal = is_decoder(folder)
        dtype = weights_dtype(ctx.precision, learns=settings.lora is None)
        opened = open_reader(folder, dtype=dtype, causal=causal, writes=causal)
        max_tokens, stops = opened.most_tokens(settings.max_tokens), opened.facts.stop_token_ids if causal else ()
        weights = opened.base_hash()
        pooling = settings.pooling or ("last" if causal else "mean")
        trunk = opened.trunk(("reward",), lora=settings.lora, seed=ctx.seed, pooling=pooling, compute=ctx.precision)
        encoder = Encoder(opened.tokenizer, causal, max_tokens, stops, opened.reads_prompts_apart)
        return cls(named, weights, trunk, encoder)

    @property
    def uncut(self) -> Encoder:
        """The same encoder without cutting long rows."""
        return replace(self.encoder, max_tokens=2**31)

    def long_rows(self, too_long: TooLong) -> LongRows:
        """The handling of rows longer than the encoder allows; a cut removes the beginning, even of the completion."""
        from preflab.training.too_long import LongRows

        return LongRows(self.encoder.max_tokens, too_long, cut=self.encoder.truncate)

    def save(self, folder: Path) -> None:
        """Save the reward model in `folder`; a local base is named by a relative path, so that a workspace can move."""
        from preflab.rewards.score import save_reward_model

        local = Path(self.ref).is_dir()
        base = os.path.relpath(Path(self.ref).resolve(), folder.resolve()) if local else str(self.ref)
        save_reward_model(self.trunk, folder, base=base, weights_hash=self.weights_hash, encoder=self.encoder)


def reference_sequences(ctx: StageContext, base: RewardBase) -> list[TokenSequence]:
    """The completions of the `reference` stage, used to normalise the scores; [] if that setting is None."""
    settings: RewardSettings | RatingSettings = ctx.settings
    if settings.reference is None:
        return []
    completions = ctx.completions(settings.reference)
    prompts = {prompt.id: prompt for prompt in ctx.workspace.prompts(sorted({c.prompt_id for c in completions}))}
    return [base.encoder(prompts[c.prompt_id], c) for c in completions]


def reference_scores(
    ctx: StageContext, base: RewardBase, samples: Sequence[TokenSequence], labelled: Sequence[Tensor]
) -> Tensor:
    """(N,) raw scores to be normalised to mean 0 and variance 1: of `samples`; without samples, those in `labelled`."""
    import torch

    from preflab.rewards.score import reward_scores

    if not samples:
        return torch.cat(list(labelled))
    return reward_scores(base.trunk, samples, ctx.settings.optimiser.tokens_per_micro_batch)
