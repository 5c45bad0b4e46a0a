"""Settings of the stage `simulate`."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from preflab.settings.base import MOST_COMPLETIONS, StageSettings, setting
from preflab.settings.rewards import RewardSource
from preflab.settings.sampling import DecodingSettings


class SimulateSettings(StageSettings):
    """Stage `simulate`: pool samples of a reference and of runs, and show what any KL penalty or reward would make."""

    kind: Literal["simulate"] = "simulate"
    policies: tuple[str, ...] = setting(
        ...,
        "Trained policies whose samples are pooled, best several with different kl_coef.",
        "required",
        min_length=1,
        refers="model",
    )
    reference: str | None = setting(
        None, "Reference model of the KL; None: that of the first policy.", "choice", refers="model"
    )
    prompts: str = setting(
        ..., "Prompts: `data name`, `data name.train` or `data name.held_out`.", "required", refers="data"
    )
    num_prompts: int = setting(50, "Prompts that are used, from the first.", "choice: a page below 5 MB", ge=1)
    num_completions: int = setting(
        16,
        "Completions per prompt and policy.",
        "measured: with 16 of the reference its own point has an effective number above 10 on each prompt",
        ge=1,
        le=MOST_COMPLETIONS,
    )
    rewards: tuple[RewardSource, ...] = setting(
        (), "Terms of the reward; (): those that the first policy learned from.", "choice"
    )
    judges: dict[str, str] = setting(
        {},
        "Name → `module:function` that scores a text, other than the training reward.",
        "choice: none",
        refers="function",
    )
    flattering_words: tuple[str, ...] = setting(
        (),
        "Words that the slider for flattery counts; (): those of the simulated labelers, if there are any.",
        "choice: the page can change them",
    )
    decoding: DecodingSettings | None = setting(
        None,
        "How completions are sampled; None: as the first policy was trained. Truncated sampling is refused.",
        "choice: as in training",
    )
    title: str = setting("What the KL penalty buys", "Heading of the page.", "choice")

    @model_validator(mode="after")
    def _full_distribution(self) -> SimulateSettings:
        if self.decoding is not None and self.decoding.truncated:
            raise ValueError(
                "the simulator needs the full distribution (temperature above 0, top_k 0, top_p 1, min_p 0): a "
                "truncated sample has no importance weight"
            )
        if len(set(self.policies)) < len(self.policies):
            raise ValueError("policies: each policy once")
        return self
