"""Settings of PPO."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from preflab.settings.ai import JudgeSource
from preflab.settings.base import MOST_COMPLETIONS, Settings, StageSettings, setting
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings
from preflab.settings.sampling import DecodingSettings

HUANG = "Huang et al. 2024 (arXiv 2403.17031), table of hyperparameters"


SOURCES = ("model", "ensemble", "function", "implicit", "judge")
READ_BY = {
    "criteria": "judge",
    "scale_ends": "judge",
    "calibration": "judge",
    "combine": "ensemble",
    "std_coef": "ensemble",
    "reference": "ensemble",
    "timeout_s": "function",
    "class_label": "model",
    "class_output": "model",
}
"""Settings that one source of a reward alone reads."""


class RewardSource(Settings):
    """One term of the reward: a reward model, an ensemble, a classifier, a function or an AI judge, with its weight."""

    model: str | None = setting(
        None,
        "A stage that makes a reward model, a folder or a Hub id of a classifier.",
        "one of the sources",
        refers="reward",
    )
    ensemble: tuple[str, ...] = setting(
        (), "Several reward models, by stage or folder, that score as one.", "one of the sources", refers="reward"
    )
    function: str | None = setting(
        None,
        "`module:function` of (prompt, completion, columns) giving a number.",
        "one of the sources",
        refers="function",
    )
    implicit: str | None = setting(
        None,
        "A stage `dpo` or its model folder: β log π/π_ref of its policy is the reward.",
        "one of the sources; Rafailov et al. 2023, section 4",
        refers="model",
    )
    judge: JudgeSource | None = setting(None, "An AI judge that gives points per criterion.", "one of the sources")
    criteria: dict[str, float] = setting({}, "For a judge: criterion → its weight.", "required for judges")
    scale_ends: dict[str, tuple[str, str]] = setting(
        {}, "For a judge: criterion → what 1 and 5 mean.", "choice: not at all, fully"
    )
    calibration: str | None = setting(
        None,
        "For a judge: an ai_judge stage whose lines put its points on people's scale.",
        "choice: none",
        refers="judgments",
    )
    combine: Literal["mean", "minimum", "mean_minus_std"] = setting(
        "mean_minus_std",
        "For an ensemble: how its members become one score.",
        "Coste et al. 2023 (arXiv 2310.02743): disagreement is held against a completion",
    )
    std_coef: float = setting(1.0, "For `mean_minus_std`: what a spread of 1 costs.", "choice", ge=0)
    reference: str | None = setting(
        None,
        "For an ensemble: a sample stage whose mean score per prompt is taken off each member.",
        "required for ensembles",
        refers="completions",
    )
    timeout_s: float | None = setting(
        None, "For a function: seconds a call may take before the run stops with an error.", "choice: none", gt=0
    )
    class_label: str | None = setting(
        None, "For a classifier: the class whose logit is the reward.", "required for classifiers"
    )
    class_output: Literal["logit", "probability"] = setting(
        "logit", "For a classifier: logit or softmax probability.", "choice: the logit of the wanted class is unbounded"
    )
    weight: float = setting(1.0, "Factor of this term in the sum.", "choice")
    name: str | None = setting(None, "Its name in the metrics; None: the last part of its source.", "choice")

    @model_validator(mode="after")
    def _one_source(self) -> RewardSource:
        if sum(bool(getattr(self, name)) for name in SOURCES) != 1:
            raise ValueError("a reward is a `model`, `ensemble`, `function`, `implicit` or `judge`: give one of them")
        given = next(name for name in SOURCES if getattr(self, name))
        fields = type(self).model_fields
        unread = [n for n, source in READ_BY.items() if source != given and getattr(self, n) != fields[n].default]
        if unread:
            raise ValueError(f"{unread[0]} is for a reward by `{READ_BY[unread[0]]}`: nothing would read it here")
        if (self.judge is None) != (not self.criteria):
            raise ValueError("a judge needs `criteria`, such as {helpfulness: 1.0}, and nothing else takes them")
        if self.ensemble and (len(self.ensemble) < 2 or self.reference is None):
            raise ValueError("an ensemble needs at least two members and a `reference` of completions")
        return self


class StopSettings(Settings):
    """When a run ends before `num_steps`."""

    criterion: str | None = setting(
        None,
        "`module:function` scoring held-out completions; the mean is the criterion.",
        "choice: none",
        refers="function",
    )
    threshold: float | None = setting(None, "Stop once the held-out criterion reaches this.", "choice: none")
    every: int = setting(10, "Steps between two measurements of the criterion.", "choice", ge=1)
    num_prompts: int = setting(64, "Held-out prompts it is measured on.", "choice", ge=1)
    max_kl: float | None = setting(None, "Stop once the mean KL per completion exceeds this, nats.", "choice: none")


class PpoSettings(StageSettings):
    """Stage `ppo`: proximal policy optimisation against one or several rewards (Schulman et al. 2017)."""

    makes: ClassVar[str] = "model"
    kind: Literal["ppo"] = "ppo"
    model: str = setting(
        ..., "The start: a stage that makes a model, a folder or a Hub id.", "required", refers="model"
    )
    reference: str | None = setting(
        None, "What KL is measured to; None: the start itself.", "Stiennon et al. 2020", refers="model"
    )
    prompts: str = setting(
        ..., "Prompts: `data name`, `data name.train` or `data name.held_out`.", "required", refers="data"
    )
    too_long: Literal["refuse", "leave_out", "cut_prompt"] = setting(
        "refuse",
        "Prompts without room for max_new_tokens: refuse them all at once, leave them out, or cut their beginning.",
        "choice: nothing is cut or left out unless said",
        counts="if_set",
    )
    held_out_prompts: str | None = setting(
        None, "Prompts of the held-out criterion.", "needed with stop.criterion", refers="data"
    )
    rewards: tuple[RewardSource, ...] = setting(..., "Terms of the reward, summed.", "required", min_length=1)
    lora: LoraSettings | None = setting(
        LoraSettings(), "Adapters; None: full fine-tuning with copies.", "choice: one base for all roles"
    )

    num_steps: int = setting(60, "Rollout batches.", "choice: minutes on two cores", ge=1)
    num_completions_per_step: int = setting(64, "Completions per rollout batch.", "choice: fits two cores", ge=1)
    num_completions_per_prompt: int = setting(
        1, "Completions of one prompt in a batch.", HUANG, ge=1, le=MOST_COMPLETIONS
    )
    num_epochs: int = setting(4, "Passes over each rollout batch.", HUANG, ge=1)
    num_minibatches: int = setting(1, "Optimiser steps per pass.", HUANG, ge=1)
    decoding: DecodingSettings = setting(
        DecodingSettings(),
        "How rollouts are drawn; truncated sampling is refused.",
        "Huang et al. 2024: full distribution",
    )

    kl_coef: float = setting(0.05, "Weight of KL(policy ‖ reference), reward units per nat.", HUANG, ge=0)
    kl_treatment: Literal["reward_k1", "sequence_loss", "exact"] = setting(
        "reward_k1",
        "(a) k1 in the reward, (b) squared log-ratio of the completion as loss, (c) exact KL of later "
        "positions in the reward and of this one as loss.",
        "measured: as good as exact and cheaper, docs/experiments/kl-treatments.md",
    )
    kl_target: float | None = setting(
        None,
        "Adaptive: the KL per completion that kl_coef is steered to, nats; None: fixed.",
        "Ziegler et al. 2019, section 2.2",
        gt=0,
    )
    kl_horizon: int = setting(
        10_000, "Adaptive: completions over which kl_coef adapts.", "Ziegler et al. 2019, section 2.2", ge=1
    )
    kl_budget: float | None = setting(None, "Alarm when the mean KL per completion exceeds this, nats.", "choice: none")

    gamma: float = setting(1.0, "Discount.", HUANG, gt=0, le=1)
    lam: float = setting(0.95, "GAE's lambda.", "Schulman et al. 2016; " + HUANG, ge=0, le=1)
    clip_low: float = setting(0.2, "The ratio is clipped at 1 - clip_low.", "Schulman et al. 2017, section 3", gt=0)
    clip_high: float = setting(0.2, "The ratio is clipped at 1 + clip_high.", "Schulman et al. 2017, section 3", gt=0)
    value_clip: float | None = setting(
        0.2, "Values move at most this far from the old ones; None: not clipped.", HUANG, gt=0
    )
    value_coef: float = setting(0.1, "Weight of the value loss.", HUANG, ge=0)
    value_init: Literal["reward", "zero"] = setting(
        "reward",
        "The value role starts from the reward model where there is one on this trunk, or from a zero head.",
        HUANG,
    )
    value_learning_rate: float | None = setting(None, "Learning rate of the value role; None: the policy's.", "choice")
    entropy_coef: float = setting(0.0, "Weight of the entropy bonus.", "Huang et al. 2024: none", ge=0)
    whiten_advantages: bool = setting(True, "Advantages get mean 0 and variance 1 over the batch.", HUANG)
    whiten_rewards: Literal[False, "scale", "published"] = setting(
        False,
        "Rewards of tokens get variance 1 over the batch. scale: divided by the standard deviation; published: their "
        "mean is taken off before and added back after at every token, so that the sum depends on the length.",
        HUANG,
    )
    missing_eos_penalty: float = setting(
        0.0,
        "Subtracted from the score of a completion cut by the length limit.",
        "choice: none; Huang et al. 2024 set the score to -1",
        ge=0,
    )
    bootstrap_truncated: bool = setting(
        False,
        "A cut completion is not scored but continued by its last value.",
        "choice: off, what was scored is terminal",
    )
    num_critic_warmup_steps: int = setting(0, "First steps in which only the value role learns.", "choice: none", ge=0)
    stop: StopSettings = setting(StopSettings(), "When to end early.", "see its own settings")
    num_kept_rollouts: int = setting(4, "Rollouts per step kept for reading.", "choice", ge=0)
    optimiser: OptimiserSettings = setting(OptimiserSettings(), "The optimiser.", "see its own settings")
    run: RunSettings = setting(RunSettings(save_every=10), "Checkpoints and logs.", "see its own settings")

    @field_validator("whiten_rewards", mode="before")
    @classmethod
    def _named_whitening(cls, value: Any) -> Any:
        if value is True:
            raise ValueError(
                "true is no longer taken: write scale (rewards divided by their standard deviation) or published (as "
                "true was: the mean is added back at every token, so that a completion's sum depends on its length)"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> PpoSettings:
        if self.decoding.truncated:
            raise ValueError(
                "training rollouts need the full distribution (temperature above 0, top_k 0, top_p 1, min_p 0): "
                "with a truncated one the ratio to the policy is biased"
            )
        if self.num_completions_per_step % self.num_completions_per_prompt:
            raise ValueError("num_completions_per_step must be a multiple of num_completions_per_prompt")
        if self.num_minibatches > self.num_completions_per_step:
            raise ValueError("num_minibatches cannot exceed num_completions_per_step")
        if self.kl_target is not None and self.kl_horizon < self.num_completions_per_step:
            raise ValueError(
                "kl_horizon cannot be below num_completions_per_step: one step could turn kl_coef negative"
            )
        if self.kl_treatment == "sequence_loss" and self.num_epochs * self.num_minibatches > 1:
            raise ValueError(
                "kl_treatment sequence_loss has the right gradient on the current policy's completions alone: "
                "it needs num_epochs 1 and num_minibatches 1"
            )
        if self.stop.criterion is not None and self.held_out_prompts is None:
            raise ValueError("stop.criterion needs held_out_prompts")
        if self.stop.threshold is not None and self.stop.criterion is None:
            raise ValueError("stop.threshold needs stop.criterion")
        return self
