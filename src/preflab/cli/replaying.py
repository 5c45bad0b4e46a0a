"""`replay`: one page about what a run learned from, from its curves down to single tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from preflab.cli.run_places import find_run
from preflab.cli.speaking import DEFAULT_RECIPE, JsonOption, RecipeOption, WorkspaceOption, shown_path, speaking


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("replay", help=replay.__doc__, short_help="Show what a run learned from, token by token.")(replay)


def replay(
    run: Annotated[str, typer.Argument(help="A run folder, or the name of a stage whose newest run is meant.")],
    other: Annotated[str | None, typer.Argument(help="A second run, shown beside it.", metavar="[RUN2]")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write.", show_default="replay-STAGE.html")
    ] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML file that shows what a run learned from: trend, step, rollout, token.

    It opens by double click and loads nothing. It reads the rollouts that ppo, the grpo family and online_dpo keep
    (num_kept_rollouts), and the pairs that dpo and reward keep.
    """
    from preflab.explain.replay_data import replay_data
    from preflab.explain.replay_page import replay_page
    from preflab.files import write_text

    with speaking(as_json) as speaker:
        named = [name for name in (run, other) if name is not None]
        data = replay_data([find_run(name, recipe, workspace, finished=False) for name in named])
        page = out or Path(f"replay-{'-and-'.join(each['name'].replace('/', '.') for each in data['runs'])}.html")
        write_text(page, replay_page(data))
        for sentence in (text for each in data["runs"] for text in (*each["leftOut"], each["note"]) if text):
            speaker.say(sentence)
        speaker.last(page, f"open {shown_path(page)} in a browser")
