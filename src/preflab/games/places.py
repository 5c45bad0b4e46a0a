"""Opens the game of a place: a file, a module, one that comes with preflab, or an environment of another library."""

from __future__ import annotations

import importlib
from functools import partial

from preflab.errors import PreflabError
from preflab.games.environments import game_of_gymnasium, game_of_pettingzoo
from preflab.games.game import Game, load_game

LIBRARIES = ("gymnasium", "pettingzoo")
EXAMPLES = {
    "gymnasium": "gymnasium:CliffWalking-v1",
    "pettingzoo": "pettingzoo:pettingzoo.classic.tictactoe_v3",
}


def open_game(place: str) -> Game:
    """The game of a place: what `load_game` takes, `gymnasium:CliffWalking-v1`, `pettingzoo:MODULE`.

    MODULE is a module with a function `env`, such as `pettingzoo.classic.tictactoe_v3`.

    Raises:
        PreflabError: there is no such game, or the environment is none.
    """
    library, colon, name = place.partition(":")
    if library not in LIBRARIES or not colon:
        return load_game(place)
    if not name:
        raise PreflabError(
            f"{place} names no environment",
            f"{library}:NAME, such as {EXAMPLES[library]}",
            "write the name after the colon",
        )
    module = "gymnasium" if library == "gymnasium" else name
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise _not_importable(place, library, error) from error
    if library == "pettingzoo":
        if not callable(getattr(loaded, "env", None)):
            raise PreflabError(f"{place}: no function `env`", "a module of an AEC environment", "correct the name")
        return game_of_pettingzoo(loaded.env, name=name.rpartition(".")[2])
    try:
        return game_of_gymnasium(partial(loaded.make, name), name=name)
    except loaded.error.Error as error:
        raise PreflabError(f"{place}: {error}", "an environment that Gymnasium knows", "correct the name") from error


def _not_importable(place: str, library: str, error: ImportError) -> PreflabError:
    """The error of an environment whose library is missing, or whose module is."""
    if error.name == library:
        return PreflabError(
            f"{place}: {library} is not installed",
            f"the library {library}, which preflab does not install",
            f"run `pip install {library}` in the environment of preflab (`.venv/bin/pip` of a checkout)",
        )
    return PreflabError(
        f"{place}: {error}", f"such as {EXAMPLES[library]}", "correct the name, or install what is missing"
    )
