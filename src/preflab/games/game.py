"""The contract of a game: a few pure functions in a Python file.

    MOVES = (…)                       every move that exists, in a fixed order
    NUM_PLAYERS = 1 or 2              optional; 1 if missing
    def start(seed) -> state          the first position; equal seeds give equal positions
    def legal_moves(state) -> [move]  what may be played; empty when the game is over
    def play(state, move) -> state    the position after a move; the state it was given stays as it was
    def result(state) -> number       what player 0 gets, or None while the game goes on; player 1 gets the negative
    def show(state) -> str            the position as text
    def player(state) -> 0 or 1       whose turn it is; required with two players
    def symmetries(state) -> [(state, {move: move})]   optional: equivalent positions, and where each move goes
    def features(state) -> [number]   optional: what a network reads, from the view of the player whose turn it is
    def cells(state) -> [[text]]      optional: the board of a page, if moves are numbers of its cells, row by row
    def frame(state) -> [[text]]      optional: the picture of a clip; without it that of cells, or what show returns
    LOOKS = {text: look, …}           optional: how a clip draws a cell, by its text (looks: `preflab.clips.LOOKS`)

States and moves are hashable and compared by ==: tuples, strings, numbers. All randomness of a game is in `start`, and
no position comes twice in one game, so every game ends.
Nothing else is needed: players, proofs and lessons use these functions alone. `preflab game check` tests the contract.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from preflab.errors import PreflabError, nearest

State = Hashable
Move = Hashable
Symmetry = tuple[State, Mapping[Move, Move]]
"""An equivalent position, and for every move the move that corresponds to it there."""

REQUIRED = ("start", "legal_moves", "play", "result", "show")
BUILT_IN = ("tic_tac_toe", "cliff", "stunts")


@dataclass(frozen=True)
class Game:
    """The functions of a game, by the names that its file gives them."""

    name: str
    moves: tuple[Move, ...]
    num_players: int
    start: Callable[[int], State]
    legal_moves: Callable[[State], Sequence[Move]]
    play: Callable[[State, Move], State]
    result: Callable[[State], float | None]
    show: Callable[[State], str]
    player: Callable[[State], int]
    symmetries: Callable[[State], Sequence[Symmetry]] | None = None
    features: Callable[[State], Sequence[float]] | None = None
    cells: Callable[[State], Sequence[Sequence[str]]] | None = None
    """The board as rows of texts, "" for an empty cell; moves are numbers of cells, from 0, row by row."""
    frame: Callable[[State], Sequence[Sequence[str]]] | None = None
    """The picture of a clip as rows of texts."""
    looks: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Text of a cell → how a clip draws it."""

    def is_over(self, state: State) -> bool:
        """True if the game has ended in this position."""
        return self.result(state) is not None

    def result_of(self, player: int, state: State) -> float:
        """Result of a player in a final position; of two players one wins what the other loses."""
        value = self.result(state)
        assert value is not None, "the game is not over"
        return value if player == 0 else -value


def load_game(place: str) -> Game:
    """The game of a Python file, of a module, or one that comes with preflab (`tic_tac_toe`, `cliff`, `stunts`).

    The file is the user's own code and is executed.

    Raises:
        PreflabError: there is no such game, its file fails, or it lacks a function of the contract.
    """
    return game_of(_module(place), place)


def game_of(module: ModuleType, place: str) -> Game:
    """The game that a module's functions make, or its `GAME`, a `Game` made by other means.

    Raises:
        PreflabError: a function or a name of the contract is missing or of the wrong kind.
    """
    if isinstance(made := getattr(module, "GAME", None), Game):
        return made
    known = [name for name in vars(module) if not name.startswith("_")]
    num_players = getattr(module, "NUM_PLAYERS", 1)
    if num_players not in (1, 2):
        raise PreflabError(f"{place}: NUM_PLAYERS is {num_players!r}", "1 or 2", "correct NUM_PLAYERS")
    for name in REQUIRED + (("player",) if num_players == 2 else ()):
        if not callable(getattr(module, name, None)):
            near = nearest(name, known)
            why = ", since a game of two needs to say whose turn it is" if name == "player" else ""
            raise PreflabError(
                f"{place}: no function `{name}`",
                f"a game is the functions {', '.join(REQUIRED)}{why}",
                f"rename {near}" if near else f"write `{name}`",
            )
    moves = getattr(module, "MOVES", None)
    if not isinstance(moves, Sequence) or isinstance(moves, str) or not moves or len(set(moves)) < len(moves):
        raise PreflabError(
            f"{place}: MOVES is {'missing' if moves is None else repr(moves)}",
            "a tuple of all moves that exist, each once",
            "write MOVES = (…); legal_moves returns those that may be played in a position",
        )
    return Game(
        name=place if place in BUILT_IN else Path(place).stem,
        moves=tuple(moves),
        num_players=num_players,
        **{name: getattr(module, name) for name in REQUIRED},
        player=getattr(module, "player", lambda state: 0),
        symmetries=getattr(module, "symmetries", None),
        features=getattr(module, "features", None),
        cells=getattr(module, "cells", None),
        frame=getattr(module, "frame", None),
        looks=getattr(module, "LOOKS", {}),
    )


def _module(place: str) -> ModuleType:
    if place in BUILT_IN:
        return importlib.import_module(f"preflab.games.{place}")
    path = Path(place)
    try:
        if path.suffix == ".py":
            if not path.is_file():
                raise PreflabError(
                    f"{place}: no such file",
                    f"a Python file with a game, or one of {', '.join(BUILT_IN)}",
                    f"write {path.stem}, without .py" if path.stem in BUILT_IN else "correct the path",
                )
            return _executed(path)
        _refuse_what_is_no_module(place)
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name != place.partition(".")[0] and error.name != place:
            raise _failed(place, error) from error
        near = nearest(place.lower().replace("-", "_"), list(BUILT_IN))
        raise PreflabError(
            f"{place}: no game of this name",
            f"a Python file (my_game.py), a module, or one of {', '.join(BUILT_IN)}",
            f"near it: {near}" if near else "correct the name",
        ) from error
    except PreflabError:
        raise
    except Exception as error:
        raise _failed(place, error) from error


def _refuse_what_is_no_module(place: str) -> None:
    """Raise the error that names the mistake, where the place is neither a name nor a Python file."""
    if ":" in place:
        raise PreflabError(
            f"{place}: no game of this name",
            f"a Python file (my_game.py), a module, or one of {', '.join(BUILT_IN)}",
            "correct the name; for an environment of Gymnasium or PettingZoo write a Python file that sets GAME "
            "(docs/how-to/first-game.md)",
        )
    if "/" in place or place.startswith(".") or Path(place).is_file():
        raise PreflabError(
            f"{place}: {'not a Python file' if Path(place).exists() else 'no such file'}",
            f"a Python file whose name ends in .py (my_game.py), a module, or one of {', '.join(BUILT_IN)}",
            "correct the path",
        )


def _executed(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"game_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _failed(place: str, error: Exception) -> PreflabError:
    line = getattr(error, "lineno", None)
    where = f", line {line}" if line else ""
    return PreflabError(
        f"{place}{where}: {type(error).__name__}: {error}", "a file that Python can run", "correct the file"
    )


def playable_moves(game: Game, state: State) -> list[Any]:
    """The legal moves of a position in the order of `game.moves`, so that ties are broken alike everywhere."""
    legal = set(game.legal_moves(state))
    return [move for move in game.moves if move in legal]
