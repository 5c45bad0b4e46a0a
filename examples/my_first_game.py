"""Nim, as a first game of one's own: take 1 to 3 matches in turn; who takes the last one loses.

preflab game check examples/my_first_game.py
preflab game learn examples/my_first_game.py --games 2000
preflab game play examples/my_first_game.py --games 2000
"""

MOVES = (1, 2, 3)
NUM_PLAYERS = 2
MATCHES = 12


def start(seed):
    """The first position: all matches, and player 0 begins."""
    return (MATCHES, 0)


def player(state):
    """Whose turn it is."""
    return state[1]


def legal_moves(state):
    """Nobody can take more matches than there are."""
    return [move for move in MOVES if move <= state[0]]


def play(state, move):
    """Take the matches, and it is the other's turn."""
    return (state[0] - move, 1 - state[1])


def result(state):
    """Nothing is left: the player whose turn it would be did not take the last match, and wins."""
    if state[0] > 0:
        return None
    return 1.0 if state[1] == 0 else -1.0


def show(state):
    """The matches, as strokes."""
    return "|" * state[0] + f"  player {state[1]} to move"
