"""The stages of a first recipe for each kind, with a comment on the purpose of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from preflab.memory.load import USUAL_RANK
from preflab.starter.choices import EVALUATED, Fit, Pace, Split
from preflab.starter.criteria import worth_more
from preflab.starter.data_look import DataLook, Scale
from preflab.starter.kind_of_learning import Kind
from preflab.starter.lengths import Lengths
from preflab.starter.reward_file import MODULE

MANY_EXAMPLES = 5_000
"""Number of demonstrations or preferences from which one pass is enough for a first run."""
FIVE = 5
"""Top of the scale for which the usual thresholds of good and bad are meant."""


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe."""

    name: str
    comment: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Given:
    """The choices from which the stages are made."""

    kind: Kind
    model: str
    """The model's name in the recipe."""
    name: str
    """The data's name in the recipe."""
    data: DataLook
    lengths: Lengths
    limit: int | None
    """Number of rows to read; None: all."""
    split: Split
    fit: Fit
    pace: Pace
    weights: Mapping[str, float] = field(default_factory=dict)
    """Criterion of ratings → its weight in the reward; {}: all criteria with equal weights."""

    @property
    def train(self) -> str:
        """The name of the training part."""
        return f"{self.name}.train"

    @property
    def held_out(self) -> str:
        """The name of the held-out part, for the evaluation."""
        return f"{self.name}.held_out"


def stages_of(given: Given) -> list[Stage]:
    """The stages in order; the last one is the report."""
    makers = {"sft": _sft, "dpo": _dpo, "reward": _reward_alone, "ppo": _online, "grpo": _online}
    stages = makers[given.kind](given)
    names = [stage.name for stage in stages]
    return [*stages, Stage("report", "One HTML file that opens without a network.", {"kind": "report", "of": names})]


def _sft(given: Given) -> list[Stage]:
    learned = {
        "kind": "sft", "model": given.model, "data": given.train,
        "num_epochs": _epochs(given),
        "num_sequences_per_step": _per_step(given, 32), "lora": {"rank": USUAL_RANK} if given.fit.lora else None,
        **_limits(given), "optimiser": _optimiser(given) | _rate(given),
    }  # fmt: skip
    comment = "Supervised fine-tuning on the completions."
    if given.data.sort == "texts":
        return [Stage("sft", "Language modelling on the texts.", learned)]
    return [Stage("sft", comment, learned), _evaluation(given, ["sft"], [], {})]


def _dpo(given: Given) -> list[Stage]:
    learned: dict[str, Any] = {
        "kind": "dpo", "model": given.model, "preferences": given.train, "num_epochs": _epochs(given),
        "num_groups_per_step": _per_step(given, 16), "lora": {"rank": USUAL_RANK}, **_limits(given), "kl_budget": 20.0,
        "watch": {"decoding": {"max_new_tokens": given.lengths.max_new_tokens}}, "optimiser": _optimiser(given),
    }  # fmt: skip
    if given.data.sort == "pairs":
        policy = Stage("dpo", "The policy learns from the pairs, kept near the starting model.", learned)
        judge = _judge(given)
        return [policy, judge, _evaluation(given, ["dpo"], [judge.name], {})]
    learned["losses"] = [{"kind": "kto"}]
    if given.data.sort == "ratings":
        learned["verdicts"] = verdicts_of(given)
    policy = Stage("dpo", "KTO: single completions marked good or bad, no comparisons.", learned)
    return [policy, _evaluation(given, ["dpo"], [], {})]


def _judge(given: Given) -> Stage:
    """A reward model for the evaluation, trained on held-out comparisons if there are enough of them."""
    if given.split.judge_apart:
        comment = "A judge for the evaluation: it learns from the held-out judgments, which the policy never sees."
        return Stage("judge", comment, _reward(given, given.held_out))
    comment = (
        f"A judge for the evaluation. {given.split.num_held_out} held-out prompts are too few to train it on, so it "
        "learns from the same comparisons as the policy: it is not an independent measure."
    )
    return Stage("judge", comment, _reward(given, given.train))


def _reward(given: Given, preferences: str) -> dict[str, Any]:
    """The settings of a reward model for comparisons or for ratings."""
    settings: dict[str, Any] = {"kind": "reward", "model": given.model, "preferences": preferences}
    if given.data.sort == "ratings":
        settings = {"kind": "rating", "model": given.model, "preferences": preferences}
        if given.weights:
            settings["criteria"] = dict(given.weights)
        settings["num_completions_per_step"] = _per_step(given, 32)
    else:
        settings["num_rankings_per_step"] = _per_step(given, 16)
    return settings | {"lora": {"rank": USUAL_RANK}, **_limits(given), "optimiser": _optimiser(given)}


def _reward_alone(given: Given) -> list[Stage]:
    settings = _reward(given, given.train) | {"test_preferences": given.held_out}
    return [Stage("rm", "A reward model; its accuracy on held-out prompts is in the report.", settings)]


def _online(given: Given) -> list[Stage]:
    """PPO or GRPO, with a learned reward or with a check of the answer."""
    if given.data.sort == "answers":
        rewards: list[dict[str, Any]] = [{"function": f"{MODULE}:correct"}]
        judges = {"correct": f"{MODULE}:correct", "stated": f"{MODULE}:stated"}
        comment = "The policy is rewarded for completions that give the right answer."
        return [_policy(given, rewards, comment), _evaluation(given, [given.kind], [], judges)]
    reward = Stage("rm", "A reward model learns from the judgments.", _reward(given, given.train))
    policy = _policy(given, [{"model": "rm"}], "The policy is optimised for rm, kept near the starting model.")
    judges_too = [_judge(given)] if given.split.judge_apart else []
    scoring = ["rm", *(stage.name for stage in judges_too)]
    return [reward, policy, *judges_too, _evaluation(given, [given.kind], scoring, {})]


def _policy(given: Given, rewards: list[dict[str, Any]], comment: str) -> Stage:
    settings: dict[str, Any] = {
        "kind": given.kind, "model": given.model, "prompts": given.train, "rewards": rewards,
        "lora": {"rank": USUAL_RANK},
        "num_steps": given.pace.num_steps,
    }  # fmt: skip
    if given.kind == "ppo":
        settings["num_completions_per_step"] = given.pace.num_completions
    else:
        settings |= {"num_prompts_per_step": given.pace.num_completions // 4, "num_completions_per_prompt": 4}
    decoding = {"max_new_tokens": given.lengths.max_new_tokens, "max_batch_rows": given.fit.rows}
    settings |= {"decoding": decoding, "kl_coef": 0.05, "kl_budget": 8.0, "optimiser": _optimiser(given)}
    if given.lengths.num_without_room or not given.lengths.whole:
        settings["too_long"] = "leave_out"
    return Stage(given.kind, comment, settings)


def _evaluation(given: Given, models: list[str], rewards: list[str], judges: dict[str, str]) -> Stage:
    settings: dict[str, Any] = {"kind": "evaluate", "models": [given.model, *models], "prompts": given.held_out}
    settings |= {"judges": judges} if judges else {}
    settings |= {"rewards": rewards} if rewards else {}
    scores = [*(f"judge/{name}" for name in judges), *(f"reward/{name}" for name in rewards)]
    settings |= {"primary": scores[0]} if scores else {}
    settings["max_prompts"] = EVALUATED
    settings["decoding"] = {"max_new_tokens": given.lengths.max_new_tokens, "max_batch_rows": given.fit.rows}
    if given.lengths.num_without_room or not given.lengths.whole:
        settings["too_long"] = "leave_out"
    comment = f"Both models answer the same held-out prompts. {_explain_judging(rewards, judges)}"
    return Stage("eval", comment, settings)


def _explain_judging(rewards: list[str], judges: dict[str, str]) -> str:
    """A sentence on what the evaluation can tell and what it cannot."""
    if judges:
        return "`correct` is the training reward; `stated` is stricter and not used in training."
    if rewards == ["rm"]:
        return "rm is the training reward: only an independent judge can tell whether the policy is better."
    if rewards:
        return "The judge scores both."
    return "There is no judge yet: ask people (`preflab campaign create`), or name a judge."


def verdicts_of(given: Given) -> dict[str, Any]:
    """Thresholds from which ratings count as good and bad: the outer thirds, or 4 and 2 on a scale from 1 to 5."""
    name, scale = _main_criterion(given.data)
    if scale.low >= 1 and scale.high <= FIVE:
        return {"criterion": name, "good_from": 4.0, "bad_to": 2.0}
    low, high = scale.thirds
    if low >= high:
        low, high = scale.low, scale.high
    return {"criterion": name, "good_from": high, "bad_to": low}


def _main_criterion(data: DataLook) -> tuple[str, Scale]:
    """The criterion with the most scores, preferably one of which more is better."""
    names = worth_more(data.scales) or list(data.scales)
    name = max(names, key=lambda each: data.scales[each].num)
    return name, data.scales[name]


def _limits(given: Given) -> dict[str, Any]:
    """Settings for rows that are too long, if there are or may be any."""
    limits: dict[str, Any] = {"max_tokens": given.fit.max_tokens} if given.fit.max_tokens else {}
    if given.fit.max_tokens or given.lengths.num_too_long or not given.lengths.whole:
        limits["too_long"] = "leave_out"
    return limits


def _per_step(given: Given, most: int) -> int:
    """Examples per optimiser step: between 2 and `most`, so that there are ten steps or more."""
    return max(2, min(most, given.split.num_train // 10))


def _optimiser(given: Given) -> dict[str, Any]:
    optimiser: dict[str, Any] = {"tokens_per_micro_batch": given.fit.tokens}
    return optimiser | ({"gradient_checkpointing": True} if given.fit.checkpointing else {})


def _epochs(given: Given) -> int:
    """Passes over the data: more for small data, whose few steps would hardly change the policy."""
    return 3 if given.split.num_train < MANY_EXAMPLES else 1


def _rate(given: Given) -> dict[str, float]:
    """A usual learning rate for full fine-tuning; adapters use the default."""
    return {} if given.fit.lora else {"learning_rate": 2.0e-5}
