"""A game as tables that a page reads, and what players think of every position at several moments of their learning.

Positions are numbered. Lists about moves are flat: the legal moves of position 0, then those of position 1, and so on,
in the order of `legal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from preflab.errors import PreflabError
from preflab.explain.packed_numbers import STEPS
from preflab.games.check import require_contract
from preflab.games.exploitability import TIE
from preflab.games.game import Game, Move, State, playable_moves
from preflab.games.learners import Learning, Thoughts, measure_player, snapshots
from preflab.games.positions import reachable_positions

MOST_POSITIONS = 20_000
"""A page of more positions would be slow to open: tic-tac-toe has 5,478."""
NUM_STARTS = 10
"""First positions of the page: those of seeds 0 to 9, as far as they differ."""
NAMES = {"exact": "exact answer", "q": "Q-learning", "ppo": "PPO", "grpo": "GRPO"}


def game_tables(game: Game) -> tuple[list[State], dict[str, Any]]:
    """The positions of a game, and its tables: moves, successors, results, whose turn it is, texts, first positions.

    Raises:
        PreflabError: the game violates its contract, or has more than `MOST_POSITIONS` positions.
    """
    require_contract(game)
    starts = list(dict.fromkeys(game.start(seed) for seed in range(NUM_STARTS)))
    try:
        states = reachable_positions(game, starts, most=MOST_POSITIONS)
    except PreflabError as error:
        raise PreflabError(
            f"{game.name}: more than {MOST_POSITIONS:,} positions",
            "a game that a page can hold",
            "make the board smaller to play on a page; `preflab game learn` measures players of larger games",
        ) from error
    index = {state: row for row, state in enumerate(states)}
    legal = [playable_moves(game, state) for state in states]
    columns = {move: column for column, move in enumerate(game.moves)}
    return states, {
        "game": game.name,
        "numPlayers": game.num_players,
        "moves": [str(move) for move in game.moves],
        "starts": [index[start] for start in starts],
        "turn": [game.player(state) for state in states],
        "legal": [[columns[move] for move in moves] for moves in legal],
        "after": [index[game.play(state, move)] for state, moves in zip(states, legal, strict=True) for move in moves],
        "result": [None if (value := game.result(state)) is None else short(value) for state in states],
        "texts": [game.show(state) for state in states],
        "boards": _boards(game, states),
        "cellOfMove": None if game.cells is None else [move if type(move) is int else -1 for move in game.moves],
    }


def _boards(game: Game, states: Sequence[State]) -> list[list[list[str]]] | None:
    """The cells of every position, None for a game without; random games may have missed a move that is no cell."""
    if game.cells is None:
        return None
    boards = [[list(row) for row in game.cells(state)] for state in states]
    shape = [len(row) for row in boards[0]]
    for state, board in zip(states, boards, strict=True):
        outside = [move for move in game.legal_moves(state) if type(move) is not int or not 0 <= move < sum(shape)]
        if outside or [len(row) for row in board] != shape:
            raise PreflabError(
                f"{game.name}: legal move {outside[0]!r} is no cell"
                if outside
                else f"{game.name}: boards of two sizes",
                "cells returns one board size, and every legal move is the number of a cell",
                "correct cells, or remove it: the page then shows what show returns and lists the moves",
            )
    return boards


def player_tables(
    game: Game,
    states: Sequence[State],
    kind: str,
    learning: Learning,
    advance: Callable[[int], object] = lambda num: None,
    *,
    num_snapshots: int = 10,
) -> dict[str, Any]:
    """Snapshots of a player: before its first game and at `num_snapshots` equal distances.

    Args:
        game: the game.
        states: its positions, as `game_tables` returns them.
        kind: `exact`, `q`, `ppo` or `grpo`.
        learning: the player.
        advance: called with the number of games that were played since the last snapshot.
        num_snapshots: snapshots after the first.
    """
    rows: list[dict[str, Any]] = []
    for num_games, thoughts in snapshots(learning, num_snapshots):
        advance(num_games - (rows[-1]["games"] if rows else 0))
        worth = {name: short(value) for name, value in measure_player(game, thoughts.policy).items()}
        rows.append({"games": num_games, **worth, **snapshot_tables(game, states, thoughts)})
    return {"kind": kind, "name": NAMES[kind], "snapshots": rows}


def snapshot_tables(game: Game, states: Sequence[State], thoughts: Thoughts) -> dict[str, Any]:
    """`probs` and `values` of the legal moves, flat, and `position`, one value each; None where it has no values."""
    probs: list[float] = []
    values: list[float] = []
    position: list[float] = []
    for state in states:
        is_over = game.is_over(state)
        if not is_over:
            probs += distinct_probs(thoughts.policy(state), playable_moves(game, state))
            if thoughts.move_values is not None:
                worth = thoughts.move_values(state)
                values += [worth[move] for move in playable_moves(game, state)]
        if thoughts.value is not None:
            position.append(0.0 if is_over else thoughts.value(state))
    return {
        "probs": probs,
        "values": None if thoughts.move_values is None else values,
        "position": None if thoughts.value is None else position,
    }


def distinct_probs(probs: Mapping[Move, float], moves: Sequence[Move]) -> list[float]:
    """Probabilities in which a move that is less likely than the likeliest stays so when the page rounds them."""
    most = max(probs.values())
    return [most if probs[move] > most - TIE else max(0.0, min(probs[move], most - 2 / STEPS)) for move in moves]


def short(value: float) -> float:
    """Three significant digits, as an integer where it is one: fewer characters on the page."""
    rounded = float(f"{value:.3g}")
    return int(rounded) if rounded == int(rounded) else rounded
