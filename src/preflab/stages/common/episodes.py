"""Makes what plays a stage's episodes, from its setting `environment`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from preflab.settings.environment import EnvironmentSettings
from preflab.settings.sampling import DecodingSettings

if TYPE_CHECKING:
    from preflab.conversations.renderer import Renderer
    from preflab.environments.episodes import EnvironmentEpisodes
    from preflab.records import Prompt
    from preflab.stages.base import StageContext
    from preflab.training.protocols import Sampler
    from preflab.training.token_limits import TokenLimits

MOST_TOKENS = 2**17
"""Most tokens of an episode with a model that has no limit of its own."""


def own_prompts(settings: Any) -> list[Prompt]:
    """The prompts that the environment of these settings supplies."""
    from preflab.environments.loading import EnvironmentSource

    return EnvironmentSource.load(settings.environment.source, settings.environment.timeout_s).prompts()


def asked_prompts(ctx: StageContext) -> list[Prompt]:
    """The prompts of a stage: those that it names, else those of its environment."""
    return own_prompts(ctx.settings) if ctx.settings.prompts is None else ctx.prompts(ctx.settings.prompts)


def longest_completion(settings: Any) -> int:
    """Most tokens of a completion of a stage with these settings.

    Of an episode it is `environment.max_tokens`; without that, as many turns as there may be, in which the environment
    says as much as the policy.
    """
    num_new: int = getattr(settings, "decoding", settings).max_new_tokens
    environment: EnvironmentSettings | None = getattr(settings, "environment", None)
    return num_new if environment is None else environment.max_tokens or 2 * environment.max_turns * num_new


def single_answers_note(name: str, settings: Mapping[str, Any]) -> list[str]:
    """A note on figures of single answers by a policy that learned in dialogues; [] if it did not.

    Args:
        name: of the policy.
        settings: of the stage that made it, as JSON values.
    """
    environment = settings.get("environment")
    if not environment:
        return []
    return [
        f"{name} learned in dialogues with {environment['source']}; here it gives single answers to the prompts, "
        "without the environment and its reward"
    ]


def longest_episode(settings: EnvironmentSettings, limits: TokenLimits) -> int:
    """Most tokens of prompt and turns."""
    return min(settings.max_tokens or MOST_TOKENS, limits.both)


def make_episodes(
    settings: EnvironmentSettings | None,
    renderer: Renderer,
    sampler: Sampler,
    decoding: DecodingSettings,
    limits: TokenLimits,
) -> EnvironmentEpisodes | None:
    """The player of a stage's episodes; None without an environment.

    Raises:
        PreflabError: the environment cannot be loaded, or the model is an encoder–decoder.
    """
    from preflab.conversations.exchange import refuse_apart
    from preflab.environments.episodes import EnvironmentEpisodes
    from preflab.environments.loading import EnvironmentSource

    if settings is None:
        return None
    refuse_apart(renderer.apart)
    source = EnvironmentSource.load(settings.source, settings.timeout_s)
    most = longest_episode(settings, limits)
    return EnvironmentEpisodes(source, renderer, sampler, decoding, settings.max_turns, most)
