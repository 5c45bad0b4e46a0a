"""Players to play against, by name."""

from __future__ import annotations

from preflab.errors import PreflabError, nearest
from preflab.games.exact_values import ExactValues
from preflab.games.exploitability import Policy
from preflab.games.game import Game, Move, State, playable_moves

OPPONENTS = ("exact", "random")


def opponent_of(game: Game, name: str) -> Policy:
    """The player of a name: `exact` plays evenly among the best moves, `random` evenly among all legal moves.

    Raises:
        PreflabError: no opponent has this name.
    """
    if name == "exact":
        return ExactValues(game).policy
    if name == "random":
        return lambda state: _even(game, state)
    near = nearest(name, list(OPPONENTS))
    raise PreflabError(
        f"no opponent {name!r}",
        f"one of {', '.join(OPPONENTS)}, or a function from a position to the probability of each move",
        f"near it: {near}" if near else "correct the name",
    )


def _even(game: Game, state: State) -> dict[Move, float]:
    moves = playable_moves(game, state)
    return dict.fromkeys(moves, 1 / len(moves))
