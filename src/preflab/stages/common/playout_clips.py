"""Makes the clips of playouts that a stage has sampled, before people judge them."""

from __future__ import annotations

from collections.abc import Iterable

from preflab.clips import COLUMN
from preflab.games.game import load_game
from preflab.games.playouts import clip_of
from preflab.records import Completion
from preflab.stages.base import StageContext
from preflab.store.completion_columns import add_columns


def add_clips(ctx: StageContext, game: str, completions: Iterable[Completion]) -> None:
    """Store a clip with every completion.

    Args:
        ctx: the stage.
        game: name, module or Python file; a file is relative to the recipe, and is executed.
        completions: playouts of the game.

    Raises:
        PreflabError: there is no such game, or a prompt is no opening of it.
    """
    loaded = load_game(str(ctx.recipe.resolve(game)) if game.endswith(".py") else game)
    listed = list(completions)
    prompts = {prompt.id: prompt.text for prompt in ctx.workspace.prompts(sorted({c.prompt_id for c in listed}))}
    clips = {each.id: {COLUMN: clip_of(loaded, prompts[each.prompt_id], each.text)} for each in listed}
    add_columns(ctx.workspace, clips)
