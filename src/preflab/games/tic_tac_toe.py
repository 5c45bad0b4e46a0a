"""Tic-tac-toe: two players mark the free cells of a 3 × 3 board in turn; three marks in a line win.

A state is nine numbers, row by row: 0 a free cell, 1 a cross (player 0, who begins), 2 a nought. A move is the number
of a cell, 0 to 8.
"""

from __future__ import annotations

Board = tuple[int, ...]

MOVES = tuple(range(9))
NUM_PLAYERS = 2
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
MARKS = "·XO"

TURNED = (6, 3, 0, 7, 4, 1, 8, 5, 2)
MIRRORED = (2, 1, 0, 5, 4, 3, 8, 7, 6)
"""Cell of the new board → cell of the old one, for a quarter turn and for a mirror image."""


def start(seed: int) -> Board:
    """The empty board; nothing about it is random."""
    return (0,) * 9


def player(state: Board) -> int:
    """Whose turn it is: player 0 when both have marked equally many cells."""
    return (9 - state.count(0)) % 2


def legal_moves(state: Board) -> list[int]:
    """The free cells, or none when the game is over."""
    return [] if result(state) is not None else [cell for cell in MOVES if state[cell] == 0]


def play(state: Board, move: int) -> Board:
    """The board with the mark of the player whose turn it is in the cell."""
    return state[:move] + (1 + player(state),) + state[move + 1 :]


def result(state: Board) -> float | None:
    """1 if the crosses have a line, −1 if the noughts have one, 0 for a full board; None while the game goes on."""
    for first, second, third in LINES:
        if state[first] and state[first] == state[second] == state[third]:
            return 1.0 if state[first] == 1 else -1.0
    return None if 0 in state else 0.0


def show(state: Board) -> str:
    """Three lines of three marks."""
    marks = [MARKS[cell] for cell in state]
    return "\n".join(" ".join(marks[row : row + 3]) for row in (0, 3, 6))


def cells(state: Board) -> list[list[str]]:
    """Three rows of three cells, as a page draws them."""
    marks = ["" if cell == 0 else MARKS[cell] for cell in state]
    return [marks[row : row + 3] for row in (0, 3, 6)]


def features(state: Board) -> list[float]:
    """18 numbers: which cells hold a mark of the player whose turn it is, and which the opponent's."""
    own = 1 + player(state)
    return [float(cell == own) for cell in state] + [float(cell == 3 - own) for cell in state]


def _all_symmetries() -> list[tuple[int, ...]]:
    turns = [MOVES]
    for _ in range(3):
        turns.append(tuple(turns[-1][cell] for cell in TURNED))
    return turns + [tuple(one[cell] for cell in MIRRORED) for one in turns]


SYMMETRIES = _all_symmetries()
"""The eight turns and mirror images of the board, each as cell of the new board → cell of the old one."""


def symmetries(state: Board) -> list[tuple[Board, dict[int, int]]]:
    """The eight boards that a turn or a mirror makes of this one, and the cell to which each cell moves."""
    return [(tuple(state[old] for old in cells), {old: new for new, old in enumerate(cells)}) for cells in SYMMETRIES]
