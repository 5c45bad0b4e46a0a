"""Settings of Online DPO."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from preflab.settings.base import StageSettings, setting
from preflab.settings.grpo import check_group_settings
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings
from preflab.settings.rewards import RewardSource
from preflab.settings.sampling import DecodingSettings
from preflab.settings.stopping import StopSettings

GUO = "Guo et al. 2024 (arXiv 2402.04792)"


class OnlineDpoSettings(StageSettings):
    """Stage `online_dpo`: DPO on pairs sampled from the policy itself, labelled by a reward (Guo et al. 2024)."""

    makes: ClassVar[str] = "model"
    kind: Literal["online_dpo"] = "online_dpo"
    model: str = setting(
        ..., "Starting model: a stage that makes a model, a folder or a Hub id.", "required", refers="model"
    )
    reference: str | None = setting(
        None, "Reference model of the log-ratios; None: the starting model.", "Rafailov et al. 2023", refers="model"
    )
    prompts: str = setting(
        ..., "Prompts: `data name`, `data name.train` or `data name.held_out`.", "required", refers="data"
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
        ..., "Terms of the reward r, summed; P(a ≻ b) = σ(r_a − r_b).", "required", min_length=1
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
    num_prompts_per_step: int = setting(32, "Prompts (groups) per rollout batch.", "choice: fits two cores", ge=1)
    num_completions_per_prompt: int = setting(
        2, "Completions per prompt (K); all K(K − 1)/2 pairs are used.", f"{GUO}: 2", le=1000
    )
    num_epochs: int = setting(1, "Passes over each rollout batch.", f"{GUO}: one update", ge=1)
    num_minibatches: int = setting(1, "Optimiser steps per pass.", f"{GUO}: one update", ge=1)
    decoding: DecodingSettings = setting(
        DecodingSettings(), "How rollouts are sampled; truncated sampling is refused.", "choice: the full distribution"
    )
    labels: Literal["soft", "drawn"] = setting(
        "soft",
        "Label of a pair: σ(r_a − r_b) itself, or a winner drawn with that probability.",
        "measured: both end on π*, soft with less noise; hard labels collapse, docs/experiments/fixed-points.md",
    )
    beta: float = setting(
        0.1, "Reward units per nat of KL(policy ‖ reference); larger keeps the policy nearer.", f"{GUO}: 0.1", gt=0
    )
    kl_budget: float | None = setting(None, "Alarm when the mean KL per completion exceeds this, nats.", "choice: none")
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

    @field_validator("labels", mode="before")
    @classmethod
    def _not_hard(cls, value: Any) -> Any:
        if value == "hard":
            raise ValueError(
                "hard labels (the higher reward always wins) do not converge to π*: the policy sees the same winner "
                "however small the difference, and collapses onto it; use soft or drawn"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> OnlineDpoSettings:
        if self.decoding.truncated:
            raise ValueError(
                "training rollouts need the full distribution (temperature above 0, top_k 0, top_p 1, min_p 0): "
                "the loss compares log-ratios of whole policies"
            )
        check_group_settings(self)
        if self.num_minibatches > self.num_prompts_per_step:
            raise ValueError("num_minibatches cannot exceed num_prompts_per_step: pairs stay together")
        return self
