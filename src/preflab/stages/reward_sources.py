"""The rewards that a recipe names, as one scorer: reward models, classifiers and functions, weighted and summed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.errors import PreflabError
from preflab.settings.ppo import RewardSource

if TYPE_CHECKING:
    from preflab.models.trunk import Trunk
    from preflab.rewards.combine import WeightedSum
    from preflab.rewards.score import RewardModelScorer
    from preflab.training.protocols import Scorer


@dataclass
class RewardSources:
    """A scorer and the reward models' trunks behind it."""

    scorer: WeightedSum
    reward_trunks: list[Trunk]
    """The policy's own trunk among them when a reward model is an adapter on the same base (R15)."""


def reward_sources(
    sources: Sequence[RewardSource],
    model_folder: Callable[[str], Path | str],
    *,
    trunk: Trunk | None = None,
    trunk_hash: str = "",
    dtype: str = "float32",
    tokens_per_batch: int = 4096,
) -> RewardSources:
    """Load every reward; the first reward model that fits joins the policy's trunk.

    Args:
        sources: the terms.
        model_folder: a stage's name, a folder or a Hub id → where it lies.
        trunk: the policy's trunk; None: nothing to share.
        trunk_hash: the hash of its base weights.
        dtype: of what is loaded.
        tokens_per_batch: tokens in one forward pass of a scorer.

    Raises:
        PreflabError: a reward cannot be loaded, or a classifier is named without its class.
    """
    from preflab.rewards.combine import Term, WeightedSum
    from preflab.rewards.functions import FunctionScorer, load_function

    terms, reward_trunks = [], []
    for source in sources:
        if source.function is not None:
            terms.append(Term(source.function, source.weight, FunctionScorer(load_function(source.function))))
            continue
        name = str(source.model)
        folder = model_folder(name)
        scorer: Scorer
        if (Path(folder) / "reward_model.json").is_file():
            scorer = _reward_model(name, Path(folder), trunk, trunk_hash, dtype, tokens_per_batch)
            reward_trunks.append(scorer.trunk)
        else:
            scorer = _classifier(source, folder, dtype, tokens_per_batch)
        terms.append(Term(name, source.weight, scorer))
    return RewardSources(WeightedSum(terms), reward_trunks)


def _reward_model(
    name: str, folder: Path, trunk: Trunk | None, trunk_hash: str, dtype: str, tokens_per_batch: int
) -> RewardModelScorer:
    from preflab.rewards.score import RewardModelScorer, load_reward_model, same_tokenizer, shares_base

    joins = trunk is not None and trunk.lora is not None and "reward" not in trunk.heads
    if joins and shares_base(folder, trunk_hash):
        reward_trunk, encoder = load_reward_model(folder, trunk=trunk, trunk_hash=trunk_hash)
    else:
        reward_trunk, encoder = load_reward_model(folder, dtype=dtype)
        if trunk is not None:
            reward_trunk.to(trunk.device)
    takes_tokens = trunk is not None and same_tokenizer(trunk.tokenizer, encoder.tokenizer)
    return RewardModelScorer(reward_trunk, encoder, name, takes_tokens=takes_tokens, tokens_per_batch=tokens_per_batch)


def _classifier(source: RewardSource, folder: Path | str, dtype: str, tokens_per_batch: int) -> Scorer:
    from preflab.models.loading import load_classifier, load_tokenizer
    from preflab.rewards.classifier import ClassifierScorer

    model = load_classifier(folder, dtype=dtype)
    if source.class_label is None:
        raise PreflabError(
            f"rewards: {source.model} is a classifier and no class_label is given",
            f"class_label, one of {', '.join(map(str, model.config.id2label.values()))}",
            "name the class whose logit is the reward",
        )
    tokenizer = load_tokenizer(folder, writes=False)
    return ClassifierScorer(
        model, tokenizer, source.class_label, output=source.class_output, tokens_per_batch=tokens_per_batch
    )
