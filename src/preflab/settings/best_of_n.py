"""Settings of best-of-n."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.settings.base import MOST_COMPLETIONS, StageSettings, setting
from preflab.settings.rewards import RewardSource
from preflab.settings.sampling import DecodingSettings


class BestOfNSettings(DecodingSettings, StageSettings):
    """Stage `best_of_n`: sample n completions of every prompt and keep the best by a reward, without any training.

    The kept completions can be judged, evaluated with models (`completions` of stage `evaluate`), or used for training
    (`data` of stage `sft`: rejection sampling).
    """

    makes: ClassVar[str] = "completions"
    demonstrates: ClassVar[bool] = True
    kind: Literal["best_of_n"] = "best_of_n"
    model: str = setting(..., "A stage that makes a model, a folder or a Hub id.", "required", refers="model")
    prompts: str = setting(
        ..., "Prompts: `data name`, `data name.train` or `data name.held_out`.", "required", refers="data"
    )
    rewards: tuple[RewardSource, ...] = setting(
        ..., "Terms of the reward that selects, summed.", "required", min_length=1
    )
    num_completions: int = setting(
        16,
        "Completions per prompt (n).",
        "choice: KL to the model is at most log 16 − 15/16 = 1.8 nats",
        le=MOST_COMPLETIONS,
    )
    max_prompts: int | None = setting(None, "Use only this many prompts; None: all.", "choice: all", ge=1)
    too_long: Literal["refuse", "leave_out", "cut_prompt"] = setting(
        "refuse",
        "Prompts without room for max_new_tokens: stop with an error, leave them out, or cut their beginning.",
        "choice: nothing is cut or left out by default",
        counts="if_set",
    )

    @model_validator(mode="after")
    def _something_to_choose_from(self) -> BestOfNSettings:
        if self.num_completions < 2:
            raise ValueError(f"num_completions is {self.num_completions}: best-of-n chooses among at least 2")
        if self.temperature == 0:
            raise ValueError("temperature 0 samples the same completion n times: there is nothing to choose from")
        return self
