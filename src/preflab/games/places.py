"""Opens the game of a place: a file, a module, one that comes with preflab, or an environment of another library."""

from __future__ import annotations

import importlib
from functools import partial

from preflab.errors import PreflabError
from preflab.games.environments import game_of_gymnasium, game_of_pettingzoo
from preflab.games.game import Game, load_game

LIBRARIES = ("gymnasium", "pettingzoo")


def open_game(place: str) -> Game:
    """The game of a place: what `load_game` takes, `gymnasium:CliffWalking-v1`, `pettingzoo:MODULE`.

    MODULE is a module with a function `env`, such as `pettingzoo.classic.tictactoe_v3`.

    Raises:
        PreflabError: there is no such game, or the environment is none.
    """
    library, _, name = place.partition(":")
    if library not in LIBRARIES or not name:
        return load_game(place)
    module = "gymnasium" if library == "gymnasium" else name
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise PreflabError(
            f"{place}: {error}",
            f"an installed {library} with this environment",
            f"install {library}, or correct the name",
        ) from error
    if library == "pettingzoo":
        if not callable(getattr(loaded, "env", None)):
            raise PreflabError(f"{place}: no function `env`", "a module of an AEC environment", "correct the name")
        return game_of_pettingzoo(loaded.env, name=name.rpartition(".")[2])
    try:
        return game_of_gymnasium(partial(loaded.make, name), name=name)
    except loaded.error.Error as error:
        raise PreflabError(f"{place}: {error}", "an environment that Gymnasium knows", "correct the name") from error
