"""Reads from the manifests of trained policies what a pool needs: reference, rewards, decoding, coefficient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflab.errors import PreflabError
from preflab.settings.rewards import RewardSource
from preflab.settings.sampling import DecodingSettings
from preflab.settings.simulate import SimulateSettings
from preflab.words import number

Stage = Mapping[str, Any]
"""The settings of a stage as JSON values, as in its manifest."""
DIVIDED = ("grpo", "dapo", "gspo")
"""Algorithms of the GRPO family whose advantages are divided by the standard deviation of the group."""


@dataclass(frozen=True)
class Common:
    """Settings that all pooled policies share."""

    reference: str
    rewards: tuple[RewardSource, ...]
    decoding: DecodingSettings


@dataclass(frozen=True)
class Coefficient:
    """β of a policy in reward units per nat, or why it has none."""

    value: float | None
    note: str = ""


def common_settings(settings: SimulateSettings, stages: Mapping[str, Stage]) -> Common:
    """The stage's reference, rewards and decoding; what it leaves open is that of the first policy.

    Args:
        settings: of the stage `simulate`.
        stages: name of a policy that a stage made → that stage's settings.

    Raises:
        PreflabError: a policy was trained from another reference, at another temperature or with an environment, or
            there is no reward.
    """
    for name in settings.policies:
        check_single_answers(name, stages.get(name, {}))
    first = stages.get(settings.policies[0], {})
    reference = settings.reference or reference_of(first)
    if reference is None:
        raise PreflabError(
            f"reference: {settings.policies[0]} has none of its own",
            "the model that the policies started from",
            "set `reference` of the stage; in a command, name a run first that has one",
        )
    rewards = settings.rewards or tuple(RewardSource.model_validate(row) for row in first.get("rewards", ()))
    if not rewards:
        raise PreflabError(
            f"rewards: {settings.policies[0]} was trained without one",
            "the reward that the simulator maximises, such as [{model: rm}]",
            "set `rewards` of the stage; in a command, name a run first that learned from a reward",
        )
    decoding = settings.decoding or DecodingSettings.model_validate(first.get("decoding", {}))
    if decoding.truncated:
        raise PreflabError(
            f"decoding: {settings.policies[0]} was sampled from a truncated distribution",
            "the full distribution, since a truncated sample has no importance weight",
            "set `decoding`, with temperature above 0, top_k 0, top_p 1 and min_p 0",
        )
    for name in settings.policies:
        _check_policy(name, stages.get(name, {}), reference, decoding.temperature)
    return Common(reference, rewards, decoding)


def reference_of(stage: Stage) -> str | None:
    """The reference of the KL of a stage that learns a policy; None for other stages."""
    return (stage.get("reference") or stage.get("model")) if "reference" in stage else None


def check_single_answers(name: str, stage: Stage) -> None:
    """Checks that a policy learned without an environment.

    Raises:
        PreflabError: it learned in dialogues.
    """
    if stage.get("environment"):
        raise PreflabError(
            f"policies: {name} learned in dialogues with the environment {stage['environment']['source']}",
            "policies that learned from single answers: a pool has no dialogues, and no environment that answers",
            f"leave {name} out; `preflab replay {name}` shows its dialogues",
        )


def _check_policy(name: str, stage: Stage, reference: str, temperature: float) -> None:
    other = reference_of(stage)
    if other is not None and other != reference:
        raise PreflabError(
            f"policies: {name} was trained from the reference {other}",
            f"policies trained from {reference}, from which the simulator counts the KL",
            f"leave {name} out, or make a simulator of its own for it",
        )
    trained_at = (stage.get("decoding") or {}).get("temperature", 1.0)
    if other is not None and trained_at != temperature:
        raise PreflabError(
            f"policies: {name} was trained at temperature {number(trained_at)}",
            f"policies trained at the temperature of the pool, {number(temperature)}",
            f"leave {name} out, or set decoding.temperature",
        )


def coefficient(stage: Stage) -> Coefficient:
    """The β that a policy was trained with, if it is in units of the reward."""
    kind = stage.get("kind")
    if kind == "online_dpo":
        return Coefficient(float(stage["beta"]))
    if kind not in ("ppo", "grpo"):
        return Coefficient(None)
    if stage.get("kl_target") is not None:
        return Coefficient(None, f"kl_coef was steered towards {number(stage['kl_target'])} nats")
    if stage.get("whiten_rewards"):
        return Coefficient(None, "rewards were whitened, so kl_coef is in other units")
    if kind == "grpo" and stage["algorithm"] in DIVIDED and stage["kl_treatment"] != "reward_k1":
        return Coefficient(None, "advantages were divided by their standard deviation, so kl_coef is in other units")
    penalty = stage.get("missing_eos_penalty") or 0
    note = f"a completion that was cut off cost {number(penalty)}, which no slider shows" if penalty else ""
    return Coefficient(float(stage["kl_coef"]), note)


def source_text(source: RewardSource) -> str:
    """The source of a term of the reward, in words."""
    if source.ensemble:
        return f"ensemble of {', '.join(source.ensemble)}"
    if source.function:
        return f"function {source.function}"
    if source.implicit:
        return f"implicit reward of {source.implicit}"
    if source.judge is not None:
        return "AI judge"
    return f"class {source.class_label} of {source.model}" if source.class_label else f"reward model {source.model}"


def term_name(source: RewardSource) -> str:
    """A short name of a term, for messages before its scorer is opened."""
    plain = source.function.rpartition(":")[2] if source.function else source.model or source.implicit or "judge"
    return source.name or ("ensemble" if source.ensemble else plain)


def trained_on(stage: Stage) -> dict[str, float]:
    """Term of the reward that a policy learned from → its weight."""
    sources: Sequence[RewardSource] = [RewardSource.model_validate(row) for row in stage.get("rewards", ())]
    return {term_name(source): source.weight for source in sources}
