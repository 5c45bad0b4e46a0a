"""Players to play against, by name.

exact, minimax   the perfect player, evenly among its best moves
random           every legal move is equally likely
mixture:0.3      every move is random with probability 0.3, else minimax
my_games:player  a function `module:function`: position → probability of each legal move
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping

from preflab.errors import PreflabError, nearest
from preflab.games.exact_values import ExactValues
from preflab.games.exploitability import Policy
from preflab.games.game import Game, Move, State, load_game, playable_moves
from preflab.user_code import load_named

OPPONENTS = ("exact", "minimax", "random", "mixture")
SHARES = {"exact": 0.0, "minimax": 0.0, "random": 1.0}
"""Name → share of random moves."""
MIXTURE = 0.3
"""Share of random moves of a `mixture` without a number."""


@functools.cache
def known_game(place: str) -> Game:
    """The game of a place, loaded once."""
    return load_game(place)


@functools.cache
def opponent_named(name: str, place: str) -> Policy:
    """The opponent of this name in the game of a place, made once.

    Raises:
        PreflabError: no opponent has this name.
    """
    return opponent_of(known_game(place), name)


def opponent_of(game: Game, name: str) -> Policy:
    """The player of a name.

    Raises:
        PreflabError: no opponent has this name.
    """
    kind, colon, further = name.partition(":")
    if name in SHARES:
        return _mixture(game, SHARES[name])
    if kind == "mixture":
        return _mixture(game, _share(name, further) if colon else MIXTURE)
    if colon:
        player: Policy = load_named(name, "player", "my_players:careful")
        return player
    near = nearest(name, list(OPPONENTS))
    raise PreflabError(
        f"no opponent {name!r}",
        f"one of {', '.join(OPPONENTS)}, or a function from a position to the probability of each move",
        f"near it: {near}" if near else "correct the name",
    )


def draw_move(game: Game, policy: Policy, state: State, rng: random.Random) -> Move:
    """A move drawn from a policy; the moves are taken in the order of `game.moves`, so equal seeds draw equal moves.

    Raises:
        PreflabError: the policy gives no legal move a probability.
    """
    moves, probs = playable_moves(game, state), policy(state)
    weights = [probs.get(move, 0.0) for move in moves]
    if not sum(weights) > 0:
        raise PreflabError(
            f"a player of {game.name} gives no legal move a probability: {dict(probs)}",
            f"a probability of each legal move ({', '.join(map(str, moves))})",
            "correct the player",
        )
    return rng.choices(moves, weights)[0]


def _mixture(game: Game, share: float) -> Policy:
    """The perfect player, with a share of random moves."""
    exact = ExactValues(game)

    def policy(state: State) -> Mapping[Move, float]:
        moves = playable_moves(game, state)
        perfect = exact.policy(state) if share < 1 else dict.fromkeys(moves, 0.0)
        return {move: share / len(moves) + (1 - share) * perfect[move] for move in moves}

    return functools.cache(policy)


def _share(name: str, number: str) -> float:
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise PreflabError(f"opponent {name!r}", "a share of random moves from 0 to 1", "write for example mixture:0.3")
    return share
