"""Settings of PPO."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from preflab.settings.base import MOST_COMPLETIONS, StageSettings, setting
from preflab.settings.environment import Environment, check_prompts_and_rewards
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings
from preflab.settings.rewards import RewardSource
from preflab.settings.sampling import DecodingSettings, check_can_learn_from
from preflab.settings.stopping import StopSettings

HUANG = "Huang et al. 2024 (arXiv 2403.17031), table of hyperparameters"


class PpoSettings(StageSettings):
    """Stage `ppo`: proximal policy optimisation of one or several rewards (Schulman et al. 2017)."""

    makes: ClassVar[str] = "model"
    kind: Literal["ppo"] = "ppo"
    model: str = setting(
        ..., "Starting model: a stage that makes a model, a folder or a Hub id.", "required", refers="model"
    )
    reference: str | None = setting(
        None, "Reference model of the KL; None: the starting model.", "Stiennon et al. 2020", refers="model"
    )
    prompts: str | None = setting(
        None,
        "Prompts: `data name`, `data name.train` or `data name.held_out`; None: those of the environment.",
        "required without an environment",
        refers="data",
    )
    environment: Environment = setting(
        None, "What answers the policy, in rollouts of several turns.", "choice: none", counts="if_set"
    )
    too_long: Literal["refuse", "leave_out", "cut_prompt"] = setting(
        "refuse",
        "Prompts without room for max_new_tokens: stop with an error, leave them out, or cut their beginning.",
        "choice: nothing is cut or left out by default",
        counts="if_set",
    )
    held_out_prompts: str | None = setting(
        None, "Prompts of the held-out criterion.", "needed with stop.criterion", refers="data"
    )
    rewards: tuple[RewardSource, ...] = setting(
        (),
        "Terms of the reward, summed; with an environment its rewards are added.",
        "required without an environment",
    )
    lora: LoraSettings | None = setting(
        LoraSettings(),
        "Adapters; None: full fine-tuning, with a copy of the model per role.",
        "choice: one base for all roles",
    )

    num_steps: int = setting(60, "Rollout batches.", "choice: minutes on two cores", ge=1)
    num_completions_per_step: int = setting(64, "Completions per rollout batch.", "choice: fits two cores", ge=1)
    num_completions_per_prompt: int = setting(
        1, "Completions of each prompt in a batch.", HUANG, ge=1, le=MOST_COMPLETIONS
    )
    num_epochs: int = setting(4, "Passes over each rollout batch.", HUANG, ge=1)
    num_minibatches: int = setting(1, "Optimiser steps per pass.", HUANG, ge=1)
    decoding: DecodingSettings = setting(
        DecodingSettings(),
        "How rollouts are sampled; with top_k, top_p or min_p the policy is the truncated one.",
        "Huang et al. 2024: full distribution",
    )

    kl_coef: float = setting(0.05, "Weight of KL(policy ‖ reference), reward units per nat.", HUANG, ge=0)
    kl_treatment: Literal["reward_k1", "sequence_loss", "exact"] = setting(
        "reward_k1",
        "reward_k1: k1 in the reward; sequence_loss: squared log-ratio of the completion as a loss; exact: exact KL of "
        "later positions in the reward and of the present one as a loss.",
        "measured: as good as exact and cheaper, docs/experiments/kl-treatments.md",
    )
    kl_target: float | None = setting(
        None,
        "Target KL per completion, nats, that an adaptive kl_coef is steered to; None: kl_coef is fixed.",
        "Ziegler et al. 2019, section 2.2",
        gt=0,
    )
    kl_horizon: int = setting(
        10_000,
        "Completions over which an adaptive kl_coef adapts; larger is slower.",
        "Ziegler et al. 2019, section 2.2",
        ge=1,
    )
    kl_budget: float | None = setting(None, "Alarm when the mean KL per completion exceeds this, nats.", "choice: none")

    gamma: float = setting(1.0, "Discount per token.", HUANG, gt=0, le=1)
    lam: float = setting(0.95, "GAE's lambda.", "Schulman et al. 2016; " + HUANG, ge=0, le=1)
    clip_low: float = setting(0.2, "The ratio is clipped at 1 - clip_low.", "Schulman et al. 2017, section 3", gt=0)
    clip_high: float = setting(0.2, "The ratio is clipped at 1 + clip_high.", "Schulman et al. 2017, section 3", gt=0)
    value_clip: float | None = setting(
        0.2, "Clip of new values around the old ones, as ±; None: no clipping.", HUANG, gt=0
    )
    value_coef: float = setting(0.1, "Weight of the value loss.", HUANG, ge=0)
    value_init: Literal["reward", "zero"] = setting(
        "reward",
        "Start of the value role: the reward model, if one uses the same base model, or a head of zeros.",
        HUANG,
    )
    value_learning_rate: float | None = setting(None, "Learning rate of the value role; None: the policy's.", "choice")
    entropy_coef: float = setting(0.0, "Weight of the entropy bonus.", "Huang et al. 2024: none", ge=0)
    whiten_advantages: bool = setting(True, "Advantages get mean 0 and variance 1 over the batch.", HUANG)
    whiten_rewards: Literal[False, "scale", "published"] = setting(
        False,
        "Give token rewards variance 1 over the batch. scale: divide by the standard deviation; published: also "
        "subtract the mean before and add it back after at every token, so that the sum depends on the length.",
        HUANG,
    )
    truncated_importance: float | None = setting(
        None,
        "Cap of the weights π_trainer / π_sampler on the policy loss, for an engine that rounds differently, such as "
        "vLLM's; below 1 it would shrink the loss where both agree. None: no weights.",
        "choice: off; Yao et al. 2025 (truncated importance sampling) use 2",
        ge=1,
        counts="if_set",
    )
    missing_eos_penalty: float = setting(
        0.0,
        "Subtracted from the score of a completion that hits the length limit.",
        "choice: none; Huang et al. 2024 set the score to -1",
        ge=0,
    )
    bootstrap_truncated: bool = setting(
        False,
        "A completion that hits the length limit is not scored; its return is bootstrapped from its last value.",
        "choice: off, a scored completion is terminal",
    )
    num_critic_warmup_steps: int = setting(
        0, "Number of first steps in which only the value role learns.", "choice: none", ge=0
    )
    stop: StopSettings = setting(StopSettings(), "When to end early.", "see its own settings")
    num_kept_rollouts: int = setting(4, "Rollouts per step kept for inspection; 0: none.", "choice", ge=0)
    num_kept_alternatives: int = setting(
        0, "Most likely tokens kept at each position of a kept rollout.", "choice: none", ge=0, counts="if_set"
    )
    max_record_mib: int = setting(
        128, "Most MiB of kept rollouts; beyond, every second kept step is dropped.", "choice", ge=1, counts="never"
    )
    optimiser: OptimiserSettings = setting(OptimiserSettings(), "The optimiser.", "see its own settings")
    run: RunSettings = setting(RunSettings(save_every=10), "Checkpoints and logs.", "see its own settings")

    @field_validator("whiten_rewards", mode="before")
    @classmethod
    def _named_whitening(cls, value: Any) -> Any:
        if value is True:
            raise ValueError(
                "true is no longer accepted: write scale (rewards divided by their standard deviation) or published "
                "(the former true: the mean is added back at every token, so a completion's sum depends on its length)"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> PpoSettings:
        check_prompts_and_rewards(self.prompts, self.rewards, self.environment)
        check_can_learn_from(self.decoding)
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
                "kl_treatment sequence_loss has the right gradient only on completions of the current policy: "
                "it needs num_epochs 1 and num_minibatches 1"
            )
        if self.stop.criterion is not None and self.held_out_prompts is None:
            raise ValueError("stop.criterion needs held_out_prompts")
        if self.stop.threshold is not None and self.stop.criterion is None:
            raise ValueError("stop.threshold needs stop.criterion")
        return self
