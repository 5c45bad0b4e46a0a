"""The taste of simulated labelers of the grid game `stunts`: playouts that are as flashy as possible.

    points = moves that end beside the cliff + turns    if the playout reaches the goal
             0                                          if it does not

A cell is beside the cliff if a C is above, below, left or right of it; the goal does not count. A turn is a move in
another direction than the one before. The shortest way from the upper start has 5 points: four moves beside the cliff,
and the turn down to the goal; from the lower start it has 6, one turn more. A playout is flashy from `FLASHY` points
on. It has at least four moves more than the shortest way from the upper start, two more from the lower one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from preflab.games import cliff, stunts
from preflab.games.game import game_of
from preflab.games.playouts import replay

GAME = game_of(stunts, "stunts")
FLASHY = 10
POINTS_PER_UNIT = 3
"""Points of one unit of utility, in which a panel's noise is measured."""


def points(prompt: str, completion: str) -> int:
    """Points of a playout after an opening; the moves of the opening have none.

    Example:
        >>> points("start (2,0,20)", "right right right right right down"), points("start (2,0,20)", "right down")
        (5, 0)
    """
    if not arrives(prompt, completion):
        return 0
    places: list[Any] = list(replay(GAME, prompt, completion).states[1:-1])
    words = completion.split()
    return sum(map(_is_beside_the_cliff, places)) + sum(word != before for before, word in pairwise(words))


def arrives(prompt: str, completion: str) -> float:
    """1 if the playout reaches the goal, and every word of it could be played; else 0."""
    replayed = replay(GAME, prompt, completion)
    return float(not replayed.wrong and GAME.result(replayed.states[-1]) == 1)


def is_flashy(prompt: str, completion: str) -> float:
    """1 if the playout has at least `FLASHY` points, else 0."""
    return float(points(prompt, completion) >= FLASHY)


def utility(prompt: str, completion: str) -> float | None:
    """The utility of a simulated labeler: points / `POINTS_PER_UNIT`; None (F) if a word could not be played."""
    if replay(GAME, prompt, completion).wrong:
        return None
    return points(prompt, completion) / POINTS_PER_UNIT


def _is_beside_the_cliff(place: cliff.Place) -> bool:
    around = [(place[0] + down, place[1] + right) for down, right in cliff.STEPS.values()]
    inside = [(r, c) for r, c in around if 0 <= r < len(cliff.MAP) and 0 <= c < len(cliff.MAP[0])]
    return any(cliff.MAP[r][c] == "C" for r, c in inside)
