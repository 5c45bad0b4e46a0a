"""Settings of sampling: decoding, and the stage `sample`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.settings.base import MOST_COMPLETIONS, Settings, StageSettings, setting
from preflab.settings.environment import Environment


class DecodingSettings(Settings):
    """How tokens are drawn and when a completion ends."""

    temperature: float = setting(
        1.0,
        "Divides the logits before drawing; 0 takes the likeliest token.",
        "choice: the model's own distribution",
        ge=0,
    )
    top_k: int = setting(0, "Keep the k likeliest tokens; 0: all.", "choice: the full distribution", ge=0)
    top_p: float = setting(
        1.0, "Keep the smallest set of tokens with this probability mass.", "choice: the full distribution", gt=0, le=1
    )
    min_p: float = setting(
        0.0,
        "Drop tokens whose probability is below this share of the likeliest token's.",
        "choice: the full distribution",
        ge=0,
        lt=1,
    )
    max_new_tokens: int = setting(
        48, "Longest completion, in tokens.", "choice: short answers on a small machine", ge=1
    )
    stop_strings: tuple[str, ...] = setting(
        (), "A completion ends once its text contains one of these strings.", "choice: only the stop token"
    )
    stop_token_ids: tuple[int, ...] = setting(
        (), "Token ids that end a completion; (): the model's own.", "choice: generation_config, else the tokenizer"
    )
    max_batch_rows: int = setting(64, "Completions decoded in parallel.", "measured: 2 cores saturate near 64", ge=1)

    @property
    def truncated(self) -> bool:
        """Whether some tokens of the model's distribution cannot be drawn."""
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0 or self.temperature == 0.0


def check_can_learn_from(decoding: DecodingSettings) -> None:
    """Check that rollouts are drawn at random.

    Truncation is allowed: the loops learn from it exactly if the engine gives the ids that it kept.

    Raises:
        ValueError: temperature 0, whose completions have probability 1 and no gradient.
    """
    if decoding.temperature == 0.0:
        raise ValueError("training rollouts need a temperature above 0: greedy completions have no policy gradient")


class SampleSettings(DecodingSettings, StageSettings):
    """Stage `sample`: sample K completions for every prompt."""

    makes: ClassVar[str] = "completions"
    kind: Literal["sample"] = "sample"
    model: str = setting(..., "A stage that makes a model, a folder or a Hub id.", "required", refers="model")
    prompts: str | None = setting(
        None,
        "Prompts: `data name`, `data name.train` or `data name.held_out`; None: those of the environment.",
        "required without an environment",
        refers="data",
    )
    environment: Environment = setting(
        None, "What answers the policy; completions are then dialogues.", "choice: none", counts="if_set"
    )
    num_completions: int = setting(
        4, "Completions per prompt (K).", "Ouyang et al. 2022, section 3.5: K from 4 to 9", ge=1, le=MOST_COMPLETIONS
    )
    max_prompts: int | None = setting(None, "Use only this many prompts; None: all.", "choice: all", ge=1)
    too_long: Literal["refuse", "leave_out", "cut_prompt"] = setting(
        "refuse",
        "Prompts without room for max_new_tokens: stop with an error, leave them out, or cut their beginning.",
        "choice: nothing is cut or left out by default",
        counts="if_set",
    )

    @model_validator(mode="after")
    def _prompts_or_environment(self) -> SampleSettings:
        if self.prompts is None and self.environment is None:
            raise ValueError("prompts: required without an `environment`, which can supply them")
        return self
