"""Settings of an environment, for stages whose rollouts have several turns."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from preflab.settings.base import Settings, setting


class EnvironmentSettings(Settings):
    """The side that answers. `environment: my_game:Guess` is short for `environment: {source: my_game:Guess}`."""

    source: str = setting(
        ...,
        "`module:Class` with the methods reset(prompt, seed) and step(completion).",
        "required",
        refers="environment",
    )
    max_turns: int = setting(8, "Most turns of the policy; an episode that goes on is cut.", "choice", ge=1)
    max_tokens: int | None = setting(
        None,
        "Most tokens of prompt and all turns; an episode without room for another turn is cut. None: the context.",
        "choice: the model's limit",
        ge=2,
    )
    timeout_s: float | None = setting(None, "Most seconds of one call; beyond it the run stops.", "choice: none", gt=0)


def _from_name(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


Environment = Annotated[EnvironmentSettings | None, BeforeValidator(_from_name)]
"""The setting `environment`: None, a name, or settings."""


def check_prompts_and_rewards(prompts: str | None, rewards: tuple[Any, ...], environment: Environment) -> None:
    """Check that rollouts have a start and a reward.

    Raises:
        ValueError: without an environment, prompts or rewards are missing.
    """
    missing = [name for name, value in (("prompts", prompts), ("rewards", rewards)) if not value]
    if environment is None and missing:
        raise ValueError(f"{' and '.join(missing)}: required without an `environment`, which can supply both")
