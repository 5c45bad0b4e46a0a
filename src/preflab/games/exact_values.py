"""The exact value of every position: minimax for two players, value iteration for one (Bellman 1957).

From the view of the player whose turn it is, V(s) = max_a Q*(s, a) with

    Q*(s, a) = the result of the game   if a ends it
               γ V(s')                  if the same player moves again
               −γ V(s')                 if the opponent moves

Every game ends, so one pass from the ends backwards is exact.
"""

from __future__ import annotations

from collections.abc import Mapping

from preflab.games.game import Game, Move, State, playable_moves
from preflab.games.positions import from_the_ends


class ExactValues:
    """Values and best moves of the positions of a game, computed when they are asked for.

    Args:
        game: a game whose every line of play ends.
        discount: γ per move, 0 < γ ≤ 1; below 1 a faster win is worth more.
    """

    def __init__(self, game: Game, discount: float = 1.0) -> None:
        self.game, self.discount = game, discount
        self._values: dict[State, float] = {}

    def value(self, state: State) -> float:
        """The value of a position for the player whose turn it is, if both play perfectly from here on.

        Raises:
            PreflabError: a line of play returns to a position.
        """
        for here in from_the_ends(self.game, state, self._values):
            if self.game.is_over(here):
                self._values[here] = self.game.result_of(self.game.player(here), here)
            else:
                after = [self.game.play(here, move) for move in self.game.legal_moves(here)]
                self._values[here] = max(self._for_mover(here, one) for one in after)
        return self._values[state]

    def move_values(self, state: State) -> dict[Move, float]:
        """The value of each legal move for the player whose turn it is: Q*(s, a)."""
        moves = playable_moves(self.game, state)
        for move in moves:
            self.value(self.game.play(state, move))
        return {move: self._for_mover(state, self.game.play(state, move)) for move in moves}

    def best_moves(self, state: State) -> set[Move]:
        """All moves that keep the value of the position."""
        values = self.move_values(state)
        best = max(values.values())
        return {move for move, value in values.items() if value == best}

    def policy(self, state: State) -> Mapping[Move, float]:
        """The perfect player that chooses evenly among its best moves."""
        best = self.best_moves(state)
        return {move: 1 / len(best) if move in best else 0.0 for move in playable_moves(self.game, state)}

    def _for_mover(self, state: State, after: State) -> float:
        """Q* of the move that leads from `state` to `after`."""
        mover = self.game.player(state)
        if self.game.is_over(after):
            return self.game.result_of(mover, after)
        return self.discount * (self._values[after] if self.game.player(after) == mover else -self._values[after])
