"""A grid for one player: walk from S to the goal G around walls #, and do not step into the cliff C.

Reaching the goal gives 1, falling −1, and running out of steps 0. With a discount below 1 the shortest way is the best;
it leads along the cliff. The start is one of the cells S, chosen by the seed. A state is (row, column, steps left).
"""

from __future__ import annotations

import random

Place = tuple[int, int, int]

MAP = (
    "......",
    ".##.#.",
    "S.....",
    "SCCCCG",
)
MOST_STEPS = 12
MOVES = ("up", "right", "down", "left")
NUM_PLAYERS = 1
LOOKS = {"@": "player", "G": "goal", "C": "danger", "#": "wall", ".": "floor", "S": "floor"}
STEPS = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}


def start(seed: int) -> Place:
    """A cell S, drawn with the seed, and all steps left."""
    cells = [(row, column) for row, line in enumerate(MAP) for column, cell in enumerate(line) if cell == "S"]
    return (*random.Random(seed).choice(cells), MOST_STEPS)


def legal_moves(state: Place) -> list[str]:
    """The moves that neither leave the grid nor enter a wall; none when the walk is over."""
    if result(state) is not None:
        return []
    return [move for move in MOVES if _is_open(state[0] + STEPS[move][0], state[1] + STEPS[move][1])]


def play(state: Place, move: str) -> Place:
    """One step further, with one step less left."""
    return state[0] + STEPS[move][0], state[1] + STEPS[move][1], state[2] - 1


def result(state: Place) -> float | None:
    """1 at the goal, −1 in the cliff, 0 without steps left; None while the walk goes on."""
    cell = MAP[state[0]][state[1]]
    if cell in "GC":
        return 1.0 if cell == "G" else -1.0
    return 0.0 if state[2] == 0 else None


def show(state: Place) -> str:
    """The map with @ where the player stands, and the steps that are left."""
    return "\n".join("".join(row) for row in frame(state)) + f"\n{state[2]} steps left"


def frame(state: Place) -> list[list[str]]:
    """The map with @ where the player stands, as a clip shows it."""
    rows = [list(line) for line in MAP]
    rows[state[0]][state[1]] = "@"
    return rows


def _is_open(row: int, column: int) -> bool:
    return 0 <= row < len(MAP) and 0 <= column < len(MAP[0]) and MAP[row][column] != "#"
