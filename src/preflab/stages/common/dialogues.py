"""Dialogues with an environment as completion records, for the stage `sample`.

The record's prompt is what the policy read, which `reset` of the environment made. Its column `environment_start` is
the seed of the start: dialogues that began alike share one prompt record, others do not, even where the first turn has
the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.stages.common.episodes import make_episodes

if TYPE_CHECKING:
    from preflab.conversations.renderer import Renderer
    from preflab.environments.episodes import EnvironmentEpisodes
    from preflab.records import Completion, Prompt
    from preflab.settings.sampling import SampleSettings
    from preflab.training.protocols import Episode, Sampler
    from preflab.training.token_limits import TokenLimits

START = "environment_start"
"""Column of the prompt of a dialogue: the seed of the environment's start."""


def dialogue_episodes(
    settings: SampleSettings, renderer: Renderer, sampler: Sampler, limits: TokenLimits
) -> EnvironmentEpisodes:
    """The player of a stage's dialogues.

    Raises:
        PreflabError: the environment cannot be loaded, or the model has no chat template.
    """
    if renderer.frame is None:
        raise PreflabError(
            f"environment {settings.environment.source if settings.environment else ''}: {settings.model} has no chat "
            "template",
            "a model with a chat template, which keeps the turns of both sides apart in the records",
            "sample from a chat model",
        )
    episodes = make_episodes(settings.environment, renderer, sampler, settings, limits)
    assert episodes is not None
    return episodes


def write_dialogues(
    episodes: EnvironmentEpisodes,
    prompts: Sequence[Prompt],
    *,
    num: int,
    seed: int,
    model_id: str,
    on_done: Callable[[int], None],
) -> tuple[list[Completion], list[Prompt], list[Episode]]:
    """Plays `num` dialogues per prompt, adjacent; those of a prompt share the environment's start.

    Args:
        episodes: plays them.
        prompts: the prompts of the recipe.
        num: dialogues per prompt.
        seed: the stage's seed; the seeds of a dialogue depend only on it, the prompt and the index.
        model_id: content id of the model.
        on_done: called with the number of finished dialogues.

    Returns:
        The completions, the prompts that the policy read, one per given prompt, and the episodes.

    Raises:
        PreflabError: an episode failed, or the environment did not begin alike with the same seed.
    """
    from preflab.sampling.randomness import request_seed
    from preflab.seeds import derive_seed

    asked = [prompt for prompt in prompts for _ in range(num)]
    starts = [derive_seed(seed, "start", prompt.id) for prompt in asked]
    seeds = [request_seed(seed, prompt.id, index) for prompt in prompts for index in range(num)]
    played = episodes.play(asked, seeds, starts)
    read = [_read(episode.prompt, start) for episode, start in zip(played, starts, strict=True)]
    _check_same_start(episodes.source.name, read, num)
    temperature = episodes.decoding.temperature
    completions = [
        dialogue_record(replace(episode, prompt=prompt), model_id, own_seed, place % num, temperature)
        for place, (episode, prompt, own_seed) in enumerate(zip(played, read, seeds, strict=True))
    ]
    on_done(len(played))
    return completions, read[::num], played


def _check_same_start(environment: str, read: Sequence[Prompt], num: int) -> None:
    for place, prompt in enumerate(read):
        first = read[place - place % num]
        if prompt.id != first.id:
            raise PreflabError(
                f"{environment}: reset with one seed returned {first.shown!r:.80} and {prompt.shown!r:.80}",
                "the same first turn for the same prompt and seed, so that the dialogues can be compared",
                "take all randomness of the environment from `seed`",
            )


def dialogue_record(episode: Episode, model_id: str, seed: int, index: int, temperature: float) -> Completion:
    """A dialogue as a record: one span per turn, and in the column `environment` what the environment gave.

    `logps` are 0 for tokens that the policy did not write.
    """
    from preflab.records import ENVIRONMENT, Completion, spans_of_turns

    rewards = episode.rewards or ()
    heard: dict[str, Any] = {
        "reward": sum(rewards),
        "turn_rewards": turn_rewards(episode),
        "last_turn": episode.last_turn,
        "columns": dict(episode.columns),
    }
    return Completion.make(
        episode.prompt.id,
        "",
        model_id,
        seed,
        index,
        spans=spans_of_turns(episode.turns),
        finish_reason="stop" if episode.finished else "length",
        token_ids=episode.token_ids,
        logps=episode.logps,
        temperature=temperature,
        columns={ENVIRONMENT: heard},
    )


def turn_rewards(episode: Episode) -> list[float]:
    """The reward of each turn of the policy, at the last token of the turn."""
    written, rewards = episode.written or (), episode.rewards or ()
    ends = [
        place for place, mine in enumerate(written) if mine and (place + 1 == len(written) or not written[place + 1])
    ]
    return [rewards[place] for place in ends]


def row_of_dialogues(episodes: Sequence[Episode]) -> dict[str, float]:
    """The figures of a prompt's dialogues in sampled.jsonl, as sums: tokens and turns of the policy, and rewards."""
    return {
        "num_tokens": sum(sum(one.written or ()) for one in episodes),
        "num_turns": sum(len(turn_rewards(one)) for one in episodes),
        "reward": sum(sum(one.rewards or ()) for one in episodes),
    }


def _read(prompt: Prompt, start: int) -> Prompt:
    """The prompt that the policy read, with the start in its columns."""
    return type(prompt).make(prompt.text, prompt.messages, {**prompt.columns, START: start}, prompt.source)
