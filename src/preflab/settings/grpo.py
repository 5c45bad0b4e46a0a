"""Settings of the GRPO family: several completions per prompt, compared with one another."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.settings.base import MOST_COMPLETIONS, StageSettings, setting
from preflab.settings.environment import Environment, check_prompts_and_rewards
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings
from preflab.settings.rewards import RewardSource
from preflab.settings.sampling import DecodingSettings, check_can_learn_from
from preflab.settings.stopping import StopSettings

SHAO = "Shao et al. 2024 (arXiv 2402.03300)"
YU = "Yu et al. 2025 (arXiv 2503.14476)"


class GrpoSettings(StageSettings):
    """Stage `grpo`: policy gradients with advantages relative to a group: GRPO, Dr. GRPO, DAPO, RLOO, GSPO."""

    makes: ClassVar[str] = "model"
    kind: Literal["grpo"] = "grpo"
    algorithm: Literal["grpo", "dr_grpo", "dapo", "rloo", "gspo"] = setting(
        "grpo",
        "Algorithm: its advantages, ratio and token weights are a row of the table in docs/algorithms/grpo.md.",
        SHAO,
    )
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

    share_prompts: bool = setting(
        True,
        "Run a group's prompt through the model once for all its completions, if the model allows it.",
        "measured: same gradient in 0.34 to 1.01 of the time",
        counts="if_set",
    )
    num_steps: int = setting(60, "Rollout batches.", "choice: minutes on two cores", ge=1)
    num_prompts_per_step: int = setting(16, "Prompts (groups) per rollout batch.", "choice: fits two cores", ge=1)
    num_completions_per_prompt: int = setting(
        4,
        "Completions per prompt (K), compared with one another.",
        "Ahmadian et al. 2024 (RLOO): 2 and 4",
        le=MOST_COMPLETIONS,
    )
    num_resamples: int = setting(
        0,
        "How often a group with equal rewards is replaced by a group of another prompt.",
        f"choice: never; {YU}, section 3.2, replaces until no such group is left",
        ge=0,
    )
    num_epochs: int = setting(1, "Passes over each rollout batch.", f"{SHAO}, section 4.2: one update", ge=1)
    num_minibatches: int = setting(1, "Optimiser steps per pass.", f"{SHAO}, section 4.2: one update", ge=1)
    decoding: DecodingSettings = setting(
        DecodingSettings(),
        "How rollouts are sampled; with top_k, top_p or min_p the policy is the truncated one.",
        "Huang et al. 2024: full distribution",
    )

    kl_coef: float = setting(
        0.05,
        "Weight of KL(policy ‖ reference), reward units per nat. If the KL is a loss and advantages are divided by the "
        "standard deviation, the unit is standard deviations per nat.",
        "as PPO",
        ge=0,
    )
    kl_treatment: Literal["reward_k1", "sequence_loss", "exact", "token_k3"] = setting(
        "reward_k1",
        "reward_k1: k1 of the completion in its reward; sequence_loss: squared log-ratio of the completion as a loss; "
        "exact: exact KL of later positions in the advantages and of the present one as a loss; token_k3: k3 per token "
        "as a loss, as published for GRPO, an approximation.",
        "measured: reaches the optimum and allows several updates, docs/experiments/fixed-points.md",
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

    clip_low: float | None = setting(
        None, "The ratio is clipped at 1 - clip_low; None: the algorithm's.", "the algorithm's paper", gt=0
    )
    clip_high: float | None = setting(
        None, "The ratio is clipped at 1 + clip_high; None: the algorithm's.", "the algorithm's paper", gt=0
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
        0.0, "Subtracted from the score of a completion that hits the length limit.", "choice: none", ge=0
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

    @property
    def max_policy_tokens(self) -> int:
        """Most tokens that the policy writes in one rollout."""
        turns = 1 if self.environment is None else self.environment.max_turns
        return turns * self.decoding.max_new_tokens

    @property
    def num_completions_per_step(self) -> int:
        """Completions per rollout batch."""
        return self.num_prompts_per_step * self.num_completions_per_prompt

    @model_validator(mode="after")
    def _consistent(self) -> GrpoSettings:
        check_prompts_and_rewards(self.prompts, self.rewards, self.environment)
        check_group_settings(self)
        if self.num_minibatches > self.num_completions_per_step:
            raise ValueError("num_minibatches cannot exceed num_prompts_per_step times num_completions_per_prompt")
        if self.kl_treatment == "sequence_loss" and self.num_epochs * self.num_minibatches > 1:
            raise ValueError(
                "kl_treatment sequence_loss has the right gradient only on completions of the current policy: "
                "it needs num_epochs 1 and num_minibatches 1"
            )
        if self.num_resamples and self.kl_coef > 0:
            raise ValueError(
                "num_resamples needs kl_coef 0: groups with equal rewards still carry the KL penalty, and replacing "
                "them would bias it"
            )
        if self.kl_target is not None and self.kl_horizon < self.num_completions_per_step:
            raise ValueError(
                "kl_horizon cannot be below the completions of a step: one step could turn kl_coef negative"
            )
        return self


def check_group_settings(settings: StageSettings) -> None:
    """Check the settings that grpo and online_dpo share.

    Raises:
        ValueError: one completion per prompt, temperature 0, or a stop rule that lacks a setting.
    """
    num, decoding, stop = (getattr(settings, name) for name in ("num_completions_per_prompt", "decoding", "stop"))
    if num < 2:
        raise ValueError(
            f"num_completions_per_prompt is {num}: completions of a prompt are compared with one another, "
            "so there must be at least 2"
        )
    check_can_learn_from(decoding)
    if stop.criterion is not None and getattr(settings, "held_out_prompts", None) is None:
        raise ValueError("stop.criterion needs held_out_prompts")
    if stop.threshold is not None and stop.criterion is None:
        raise ValueError("stop.threshold needs stop.criterion")
