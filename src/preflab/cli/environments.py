"""`environment`: try one of your own without a model, and measure policies in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.model_places import model_place
from preflab.cli.speaking import (
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    WorkspaceOption,
    command,
    padded,
    speaking,
)
from preflab.errors import PreflabError
from preflab.words import count, interval_text

if TYPE_CHECKING:
    from preflab.environments.episodes import EnvironmentEpisodes
    from preflab.environments.measuring import Measured


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    group = typer.Typer(help="Environments: try one of your own, measure policies in it.", no_args_is_help=True)
    group.command("check", help=check.__doc__)(check)
    group.command("measure", help=measure.__doc__)(measure)
    app.add_typer(group, name="environment")


def check(
    source: Annotated[str, typer.Argument(help="The class, as module:Class.", metavar="ENVIRONMENT")],
    says: Annotated[
        list[str] | None,
        typer.Option("--say", help="A turn of the policy to draw from; repeat it.", show_default="words at random"),
    ] = None,
    num_episodes: Annotated[int, typer.Option("--episodes", help="Episodes to play.", min=1)] = 100,
    max_turns: Annotated[int, typer.Option("--max-turns", help="Most turns of the policy in an episode.", min=1)] = 8,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random turns.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Play episodes with random turns, without a model; check the contract, and show the episode of highest reward."""
    from preflab.environments.loading import EnvironmentSource
    from preflab.environments.trying import notes_on, try_environment

    with speaking(as_json) as speaker:
        loaded = EnvironmentSource.load(source)
        trials = try_environment(loaded, says=says or (), num_episodes=num_episodes, max_turns=max_turns, seed=seed)
        best, notes = max(trials, key=lambda trial: trial.reward), notes_on(trials)
        rewards = [trial.reward for trial in trials]
        mean = sum(rewards) / len(rewards)
        speaker.say(f"{source}: keeps the contract in {count(len(trials), 'episode')}")
        speaker.say(f"reward of random turns: {min(rewards):g} to {max(rewards):g}, mean {mean:.3g}")
        for note in notes:
            speaker.say(f"note: {note}")
        speaker.say(best.shown())
        speaker.content |= {"num_episodes": len(trials), "mean_reward": mean, "notes": notes, "shown": best.shown()}


def measure(
    stage: Annotated[str, typer.Argument(help="A ppo or grpo stage with an `environment`.", metavar="STAGE")],
    num: Annotated[int, typer.Option("--episodes", help="Fresh episodes for each model.", min=1)] = 400,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the episodes; the models get the same starts.")] = 0,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play fresh episodes with the model before and after a stage; print reward and columns with 95 % intervals."""
    from preflab.environments.measuring import measure as play
    from preflab.recipe import load_recipe
    from preflab.stages.common.episodes import own_prompts

    with speaking(as_json) as speaker:
        loaded = load_recipe(recipe, set_ or [])
        settings: Any = loaded.stages.get(stage)
        if getattr(settings, "environment", None) is None:
            raise PreflabError(
                f"{stage}: no stage of {recipe} with an `environment`",
                "the name of a ppo or grpo stage with `environment`",
                "correct the name, or add `environment: module:Class` to the stage",
            )
        if settings.prompts is not None:
            raise PreflabError(
                f"stage {stage} names prompts ({settings.prompts})",
                "an environment with its own prompts()",
                "write prompts() and leave `prompts` out of the stage",
            )
        prompts = own_prompts(settings)
        rows: dict[str, Measured] = {}
        for name in (settings.model, stage):
            place = model_place(name, recipe, set_ or [], workspace)
            rows[name] = play(_episodes(settings, place), prompts, num, seed)
        names = list(next(iter(rows.values())).figures)
        table = [("", *rows)]
        table += [(name, *(interval_text(each.figures[name].to_json()) for each in rows.values())) for name in names]
        for line in padded(table):
            speaker.say(line)
        shown = {name: _shown(each) for name, each in rows.items()}
        speaker.say(f"an episode of {stage}:\n{shown[stage]}")
        figures = {name: {each: one.to_json() for each, one in row.figures.items()} for name, row in rows.items()}
        speaker.last(None, command("replay", stage, recipe=recipe), num_episodes=num, figures=figures, shown=shown)


def _episodes(settings: Any, place: Path | str) -> EnvironmentEpisodes:
    """Episodes of the model in a folder, with the stage's decoding and limits."""
    from preflab.models.language_model import open_language_model
    from preflab.models.loading import best_device
    from preflab.sampling.engines import EngineSource, make_engine
    from preflab.stages.common.episodes import make_episodes

    opened = open_language_model(place, dtype="float32", device=best_device())
    renderer = opened.renderer(settings.decoding.stop_token_ids)
    engine = make_engine(EngineSource(opened.model, opened.tokenizer, renderer.stop_token_ids))
    episodes = make_episodes(settings.environment, renderer, engine, settings.decoding, opened.limits())
    assert episodes is not None
    return episodes


def _shown(measured: Measured) -> str:
    """The first episode as a person reads it."""
    episode = measured.episodes[0]
    lines = [f"{turn.role}: {turn.shown.strip()}" for turn in episode.turns]
    if episode.last_turn:
        lines.append(f"user: {episode.last_turn.strip()}")
    return "\n".join([f"user: {episode.prompt.text.strip()}", *lines])
