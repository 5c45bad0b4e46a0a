"""Settings of evaluation and of the report."""

from __future__ import annotations

from typing import Literal

from preflab.settings.base import MOST_COMPLETIONS, StageSettings, setting
from preflab.settings.sampling import DecodingSettings


class EvaluateSettings(StageSettings):
    """Stage `evaluate`: the same held-out prompts through several models, paired."""

    kind: Literal["evaluate"] = "evaluate"
    models: tuple[str, ...] = setting(
        ...,
        "Models in order; the first is what the others are compared with.",
        "required",
        min_length=1,
        refers="model",
    )
    reference: str | None = setting(None, "What KL is measured to; None: the first model.", "choice", refers="model")
    completions: tuple[str, ...] = setting(
        (),
        "Stages whose stored completions of the same prompts are measured beside the models', such as `best_of_n`.",
        "choice: none",
        refers="completions",
        counts="if_set",
    )
    prompts: str = setting(
        ..., "Prompts: `data name`, `data name.train` or `data name.held_out`.", "required", refers="data"
    )
    judges: dict[str, str] = setting(
        {},
        "Name → `module:function` that scores a text and was not the training reward.",
        "choice: no judge but those of the recipe",
        refers="function",
    )
    rewards: tuple[str, ...] = setting((), "Reward stages whose scores are reported too.", "choice", refers="reward")
    labels: str | None = setting(
        None,
        "`module:function` naming the class of a text (rude, curt, …), counted per model.",
        "choice",
        refers="function",
    )
    num_completions: int = setting(1, "Completions per prompt and model.", "choice", ge=1, le=MOST_COMPLETIONS)
    max_prompts: int | None = setting(None, "Use only this many prompts; None: all.", "choice: all", ge=1)
    too_long: Literal["refuse", "leave_out"] = setting(
        "refuse",
        "Prompts without room for max_new_tokens in one of the models: refuse them, or leave them out for all.",
        "choice: nothing is left out unless said",
        counts="if_set",
    )
    decoding: DecodingSettings = setting(DecodingSettings(), "How completions are drawn.", "choice: as in training")
    tilted_optimum: str | None = setting(
        None, "A judge's name: estimate the best value it can have at each KL.", "choice: none"
    )
    num_tilted_prompts: int = setting(
        32,
        "Prompts the optimum is estimated on; the models' values beside it too.",
        "choice: seconds on two cores",
        ge=2,
    )
    num_tilted_completions: int = setting(
        64,
        "Completions of the reference per prompt; a KL beyond the logarithm of an eighth of it cannot be estimated.",
        "choice: reaches about 2 nats",
        ge=8,
        le=MOST_COMPLETIONS,
    )


class ReportSettings(StageSettings):
    """Stage `report`: one HTML file about the named stages."""

    kind: Literal["report"] = "report"
    of: tuple[str, ...] = setting(..., "Stages to report, in order.", "required", min_length=1, refers="stage")
    title: str = setting("preflab report", "Heading of the page.", "choice")
    num_samples: int = setting(12, "Before/after samples shown.", "choice", ge=0)
