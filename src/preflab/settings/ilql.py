"""Settings of implicit language Q-learning."""

from __future__ import annotations

from typing import ClassVar, Literal

from preflab.settings.base import MOST_COMPLETIONS, StageSettings, setting
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings
from preflab.settings.rewards import RewardSource
from preflab.settings.sampling import DecodingSettings

SNELL = "Snell et al. 2022 (arXiv 2206.11871)"
KOSTRIKOV = "Kostrikov et al. 2021 (arXiv 2110.06169)"


class IlqlSettings(DecodingSettings, StageSettings):
    """Stage `ilql`: learn Q and V from stored completions and their rewards, then sample π_ref · exp(beta · (Q − V)).

    The policy needs two models at every token, so it is no model that other stages can name: the stage makes
    completions, for the evaluation (`completions` of stage `evaluate`) or to be judged (Snell et al. 2022).
    """

    makes: ClassVar[str] = "completions"
    kind: Literal["ilql"] = "ilql"
    model: str = setting(
        ...,
        "The reference π_ref, and the start of Q and V: a stage that makes a model, a folder or a Hub id.",
        "required",
        refers="model",
    )
    completions: str = setting(
        ..., "A stage whose completions are learned from, such as `sample`.", "required", refers="completions"
    )
    rewards: tuple[RewardSource, ...] = setting(
        ..., "Terms of the reward of those completions, summed.", "required", min_length=1
    )
    prompts: str = setting(
        ...,
        "Prompts that the policy completes after learning: `data name`, `data name.train` or `data name.held_out`.",
        "required",
        refers="data",
    )
    num_completions: int = setting(
        1, "Completions per prompt (K).", "choice: as stage evaluate", ge=1, le=MOST_COMPLETIONS
    )
    too_long: Literal["refuse", "leave_out", "cut_prompt"] = setting(
        "refuse",
        "Rows and prompts beyond the context: stop with an error, leave them out, or cut the beginning of prompts.",
        "choice: nothing is cut or left out by default",
    )
    lora: LoraSettings | None = setting(
        LoraSettings(),
        "Adapters of the value role; None: full fine-tuning, with a copy of the model.",
        "choice: one base",
    )

    tau: float = setting(
        0.7,
        "Expectile of V over the tokens in the data: 0.5 the mean, towards 1 the largest Q.",
        f"{SNELL}, appendix: 0.7 for most tasks",
        gt=0,
        lt=1,
    )
    beta: float = setting(
        4.0, "Nats per unit of Q by which the reference is re-weighted; 0 samples the reference.", "choice", ge=0
    )
    gamma: float = setting(1.0, "Discount per token.", "choice: as ppo, the reward comes at the end", gt=0, le=1)
    target_rate: float = setting(
        0.05,
        "Share by which the target copy of the Q head moves to it in each step; 1: no copy.",
        f"choice: runs of hundreds of steps; {KOSTRIKOV}: 0.005 for a million",
        gt=0,
        le=1,
    )
    num_epochs: int = setting(3, "Passes over the completions.", "choice: small data", ge=1)
    num_completions_per_step: int = setting(32, "Completions in one optimiser step.", "choice", ge=1)
    optimiser: OptimiserSettings = setting(OptimiserSettings(), "The optimiser.", "see its own settings")
    run: RunSettings = setting(RunSettings(), "Checkpoints and logs.", "see its own settings")
