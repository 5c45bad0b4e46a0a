"""The grid game `cliff` with 20 steps instead of 12: time for stunts on the way to the goal.

Rules and map are those of `cliff`; only the first position differs. What is flashy in it: `flashy.py`.
"""

from __future__ import annotations

from preflab.games import cliff
from preflab.games.cliff import LOOKS, MOVES, NUM_PLAYERS, Place, frame, legal_moves, play, result, show

__all__ = ["LOOKS", "MOVES", "NUM_PLAYERS", "frame", "legal_moves", "play", "result", "show", "start"]

MOST_STEPS = 20


def start(seed: int) -> Place:
    """A cell S, drawn with the seed, and all steps left."""
    row, column, _ = cliff.start(seed)
    return row, column, MOST_STEPS
