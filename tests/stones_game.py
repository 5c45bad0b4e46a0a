"""A game small enough to be solved by hand: four stones, take one or two, whoever takes the last one wins.

Also players of tic-tac-toe for environments, named `stones_game:lowest_cell`.
"""

from __future__ import annotations

from collections.abc import Mapping

Pile = tuple[int, int]

MOVES = ("one", "two")
NUM_PLAYERS = 2


def start(seed: int) -> Pile:
    return 4, 0


def player(state: Pile) -> int:
    return state[1]


def legal_moves(state: Pile) -> list[str]:
    return list(MOVES[: state[0]])


def play(state: Pile, move: str) -> Pile:
    return state[0] - 1 - MOVES.index(move), 1 - state[1]


def result(state: Pile) -> float | None:
    """With no stone left the player whose turn it would be has lost."""
    return None if state[0] else float(state[1] * 2 - 1)


def show(state: Pile) -> str:
    return f"{state[0]} stones"


def lowest_cell(state: tuple[int, ...]) -> Mapping[int, float]:
    """A player of tic-tac-toe that marks the first free cell."""
    return {state.index(0): 1.0}
