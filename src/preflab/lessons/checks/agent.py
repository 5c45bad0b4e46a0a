"""Exercise 1: the winning action and both rewards on a board of tic-tac-toe."""

from __future__ import annotations

from preflab.games.game import load_game
from preflab.lessons.checks.verdict import Verdict, numbers_in

BOARD = (1, 1, 0, 2, 2, 0, 0, 0, 0)


def check(answer: str) -> Verdict:
    """Play the action and compare the rewards."""
    game = load_game("tic_tac_toe")
    action, of_x, of_o = numbers_in(answer, 3)
    legal = game.legal_moves(BOARD)
    if action not in legal:
        return Verdict(False, f"{action:g} is no free cell; the free cells are {', '.join(map(str, legal))}.")
    after = game.play(BOARD, int(action))
    if game.result(after) != 1:
        return Verdict(False, f"action {action:g} does not complete a line of X; the game would go on.")
    if (of_x, of_o) != (1, -1):
        return Verdict(False, f"the action is right. X gets {game.result(after):g}; O gets the negative of that.")
    return Verdict(True, "2 completes the first row. X gets 1, and O gets −1, since one wins what the other loses.")
