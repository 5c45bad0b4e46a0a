"""Reads the inputs of a stage's rewards, for the stages that score what they sample."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from preflab.stages.base import StageContext

if TYPE_CHECKING:
    from preflab.rewards.combine import WeightedSum
    from preflab.rewards.sources import PolicySide
    from preflab.training.protocols import ScoringItem


def scorer_maker(ctx: StageContext, tokens_per_batch: int = 4096) -> Callable[[PolicySide], WeightedSum]:
    """A function that opens the reward models of `settings.rewards` and returns their weighted sum for a policy.

    The completions that an ensemble is normalised with and the calibrations of AI judges are read here, before a model
    is opened.

    Raises:
        PreflabError: an `ai_judge` stage has no calibration against people for one of a judge's criteria.
    """
    from preflab.rewards.sources import make_scorer
    from preflab.stages.common.judge_reward import JudgeInputs, judge_scorer

    sources = ctx.settings.rewards
    named = dict.fromkeys(str(source.reference) for source in sources if source.ensemble)
    items = {stage: _reference_items(ctx, stage) for stage in named}
    return functools.partial(
        make_scorer,
        sources,
        ctx.model_folder,
        reference_items=items.__getitem__,
        judges=functools.partial(judge_scorer, JudgeInputs.of(ctx)),
        dtype=ctx.precision,
        tokens_per_batch=tokens_per_batch,
    )


def _reference_items(ctx: StageContext, stage: str) -> list[ScoringItem]:
    """The completions of a stage as items for a scorer."""
    from preflab.training.protocols import ScoringItem

    return [ScoringItem.of(prompt, completion) for prompt, completion in ctx.prompted_completions(stage)]
