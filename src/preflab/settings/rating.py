"""Settings of reward models trained on ratings."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import field_validator

from preflab.settings.base import StageSettings, setting
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings


class RatingSettings(StageSettings):
    """Stage `rating`: train a reward model to predict ratings, with the mean squared error per criterion."""

    makes: ClassVar[str] = "reward"
    kind: Literal["rating"] = "rating"
    model: str = setting(
        ...,
        "Base model: a stage that makes a model, a folder or a Hub id; decoder or encoder.",
        "required",
        refers="model",
    )
    preferences: str = setting(
        ..., "A stage that makes preferences with ratings, or a data name.", "required", refers="preferences"
    )
    test_preferences: str | None = setting(
        None, "Further ratings for testing, besides the held-out share.", "choice", refers="preferences"
    )
    criteria: dict[str, float] = setting(
        {},
        "Criterion → its weight in the reward, for ratings with mean 0 and variance 1; empty: all, with equal weights.",
        "choice: no criterion is preferred by default",
    )
    reference: str | None = setting(
        None,
        "A sample stage whose completions get mean score 0 and variance 1; None: the rated completions.",
        "Ziegler et al. 2019, section 2: mean 0 and variance 1 on samples of the reference",
        refers="completions",
    )
    held_out: float = setting(0.1, "Share of the prompts kept for testing; 0: none.", "choice: a tenth", ge=0, lt=1)
    num_epochs: int = setting(1, "Passes over the rated completions.", "choice: as for rankings", ge=1)
    num_completions_per_step: int = setting(32, "Rated completions in one optimiser step.", "choice", ge=1)
    lora: LoraSettings | None = setting(
        LoraSettings(), "Adapters; None: full fine-tuning.", "choice: shares the policy's trunk"
    )
    pooling: Literal["last", "mean", "first"] | None = setting(
        None,
        "Position from which the score is read; None: last token for decoders, mean for encoders.",
        "choice: as pretrained",
    )
    max_tokens: int | None = setting(
        None,
        "Longest prompt + completion, tokens; too_long decides about longer rows. None: the model's context.",
        "choice: the end of a dialogue decides",
    )
    too_long: Literal["refuse", "leave_out", "cut_prompt"] = setting(
        "cut_prompt",
        "Rows beyond max_tokens: stop with an error, leave them out, or cut their beginning.",
        "choice: the end of a dialogue decides, and the summary says how many were cut",
        counts="if_set",
    )
    optimiser: OptimiserSettings = setting(OptimiserSettings(), "The optimiser.", "see its own settings")
    run: RunSettings = setting(RunSettings(), "Checkpoints and logs.", "see its own settings")

    @field_validator("criteria")
    @classmethod
    def _something_weighs(cls, criteria: dict[str, float]) -> dict[str, float]:
        """Refuse weights that are all 0."""
        if criteria and not any(criteria.values()):
            raise ValueError("every criterion has weight 0: give at least one of them a weight")
        return criteria
