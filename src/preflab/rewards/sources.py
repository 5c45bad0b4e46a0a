"""Makes one scorer from a recipe's rewards: the weighted sum of reward models, classifiers, functions and judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.models.loading import load_classifier, load_tokenizer
from preflab.models.packages import resolve_package
from preflab.models.role_files import load_role
from preflab.models.trunk import Trunk
from preflab.records import Prompt
from preflab.rewards.classifier import ClassifierScorer
from preflab.rewards.combine import NoReward, Term, WeightedSum
from preflab.rewards.ensemble import Baselines, EnsembleScorer, ExchangedMember, Items
from preflab.rewards.functions import FunctionScorer, load_function
from preflab.rewards.implicit import load_implicit
from preflab.rewards.longest_row import fix_longest
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import (
    CARD,
    RewardModelCard,
    RewardModelScorer,
    load_reward_model,
    same_tokenizer,
    shares_base,
    shares_experts,
)
from preflab.settings.rewards import RewardSource
from preflab.training.protocols import Scorer


@dataclass(frozen=True)
class PolicySide:
    """Parts of the policy that its rewards may use."""

    tokenizer: Any = None
    """Reward models with the same tokenizer get token ids, others text; None: all get text."""
    trunk: Trunk | None = None
    """A LoRA trunk that a reward adapter on the same base weights joins (R15)."""
    trunk_hash: str = ""
    """`weights_hash` of that trunk's base."""
    prompts: Sequence[tuple[Prompt, tuple[int, ...]]] = ()
    """All prompts whose completions will be scored, with their token ids; empty if unknown."""
    max_new_tokens: int = 0
    """Tokens of the longest completion."""


def make_scorer(
    sources: Sequence[RewardSource],
    resolve: Callable[[str], Path | str],
    policy: PolicySide | None = None,
    *,
    reference_items: Items | None = None,
    judges: Callable[[RewardSource], Scorer] | None = None,
    dtype: str = "float32",
    tokens_per_batch: int = 4096,
) -> WeightedSum:
    """The weighted sum of a recipe's reward sources; without any, 0.

    Args:
        sources: `rewards` of the settings.
        resolve: name of a stage, folder or Hub id → folder or Hub id (`StageContext.model_folder`).
        policy: the policy whose completions will be scored; None: completions are given as text.
        reference_items: returns the completions of the stage named by an ensemble's `reference`.
        judges: returns the scorer of a source with an AI judge; None: judges are not available.
        dtype: precision of newly loaded models.
        tokens_per_batch: tokens in one forward pass; never changes a score.

    Raises:
        PreflabError: a source is missing, a classifier has no `class_label`, or two terms have one name.
    """
    if not sources:
        return NoReward()
    terms = []
    for source in sources:
        name: str
        scorer: Scorer
        if source.ensemble:
            name, scorer = "ensemble", _ensemble(source, resolve, policy, reference_items, dtype, tokens_per_batch)
        elif source.judge is not None:
            name, scorer = "judge", _judge(source, judges)
        else:
            name, scorer = _term(source, resolve, policy or PolicySide(), dtype, tokens_per_batch)
        terms.append(Term(source.name or name, source.weight, scorer))
    return WeightedSum(terms)


def _ensemble(
    source: RewardSource,
    resolve: Callable[[str], Path | str],
    policy: PolicySide | None,
    reference_items: Items | None,
    dtype: str,
    tokens_per_batch: int,
) -> EnsembleScorer:
    """The scorer of an ensemble; members that are adapters on one base share a trunk."""
    side = replace(policy, trunk=None, trunk_hash="") if policy else PolicySide()
    reference = reference_items(str(source.reference)) if reference_items else []
    members: list[Scorer] = []
    shared: dict[str, Trunk] = {}
    for member in source.ensemble:
        folder = Path(resolve(member))
        card = RewardModelCard.read(folder)
        trunk = shared.get(_base_of(card))
        scorer = _reward_model(member, folder, side, dtype, tokens_per_batch, on=trunk)
        fix_longest(scorer, side.prompts, side.max_new_tokens, reference)
        if card.lora is not None:
            shared[_base_of(card)] = scorer.trunk
            members.append(ExchangedMember(scorer.trunk, scorer))
        else:
            members.append(scorer)
    return EnsembleScorer(members, Baselines.measure(members, reference), source.combine, source.std_coef)


def _judge(source: RewardSource, judges: Callable[[RewardSource], Scorer] | None) -> Scorer:
    if judges is None:
        raise PreflabError("an AI judge as a reward", "a model, an ensemble or a function", "name it in a recipe")
    return judges(source)


def _base_of(card: RewardModelCard) -> str:
    """A key that is equal for two adapters if they can be exchanged on one trunk."""
    return f"{card.weights_hash} {card.lora} {card.pooling} {card.causal}"


def _term(
    source: RewardSource, resolve: Callable[[str], Path | str], policy: PolicySide, dtype: str, tokens_per_batch: int
) -> tuple[str, Scorer]:
    if source.function is not None:
        function = load_function(source.function)
        return source.function.rpartition(":")[2], FunctionScorer(function, timeout_s=source.timeout_s)
    if source.implicit is not None:
        folder = Path(resolve(source.implicit))
        scorer = load_implicit(
            folder, source.implicit, dtype=dtype, tokenizer=policy.tokenizer, tokens_per_batch=tokens_per_batch
        )
        if policy.trunk is not None:
            _put_beside(scorer.trunk, policy.trunk)
        fix_longest(scorer, policy.prompts, policy.max_new_tokens)
        return scorer.name, scorer
    ref = resolve(str(source.model))
    if (Path(ref) / CARD).is_file():
        return str(source.model), _reward_model(str(source.model), Path(ref), policy, dtype, tokens_per_batch)
    return _classifier(source, resolve_package(ref), dtype, tokens_per_batch)


def _reward_model(
    name: str, folder: Path, policy: PolicySide, dtype: str, tokens_per_batch: int, on: Trunk | None = None
) -> RewardModelScorer:
    """A reward model on the policy's trunk if possible, on the trunk `on` of another member, or on its own trunk."""
    if on is not None:
        load_role(on, "reward", folder)
        encoder = RewardModelCard.read(folder).encoder(on.tokenizer)
        return _scorer(on, encoder, name, policy, tokens_per_batch)
    trunk = policy.trunk
    joins = (
        trunk is not None
        and trunk.lora is not None
        and "reward" not in trunk.heads
        and shares_base(folder, policy.trunk_hash, trunk.lora.base)
        and shares_experts(folder, trunk)
    )
    loaded, encoder = load_reward_model(
        folder, dtype=dtype, trunk=trunk if joins else None, trunk_hash=policy.trunk_hash if joins else ""
    )
    if not joins and trunk is not None:
        _put_beside(loaded, trunk)
    scorer = _scorer(loaded, encoder, name, policy, tokens_per_batch)
    if not joins:
        fix_longest(scorer, policy.prompts, policy.max_new_tokens)
    return scorer


def _put_beside(trunk: Trunk, policy: Trunk) -> None:
    """Move a trunk to the policy's device, and let it pack its sequences if the policy does."""
    trunk.to(policy.device)
    trunk.layout.choice = policy.layout.choice


def _scorer(trunk: Trunk, encoder: Encoder, name: str, policy: PolicySide, tokens_per_batch: int) -> RewardModelScorer:
    takes_tokens = policy.tokenizer is not None and encoder.causal and same_tokenizer(trunk.tokenizer, policy.tokenizer)
    return RewardModelScorer(trunk, encoder, name, takes_tokens=takes_tokens, tokens_per_batch=tokens_per_batch)


def _classifier(
    source: RewardSource, ref: Path | str, dtype: str, tokens_per_batch: int
) -> tuple[str, ClassifierScorer]:
    if source.class_label is None:
        raise PreflabError(
            f"the reward {source.model}: neither a reward model's folder nor a classifier with `class_label`",
            "a stage that trains a reward model, its folder, or a classifier and the rewarded class",
            "add `class_label`, or name another model",
        )
    model = load_classifier(ref, dtype=dtype)
    tokenizer = load_tokenizer(ref, writes=False)
    scorer = ClassifierScorer(
        model, tokenizer, source.class_label, output=source.class_output, tokens_per_batch=tokens_per_batch
    )
    return scorer.name, scorer
