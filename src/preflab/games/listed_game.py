"""A game as tables over all its positions, so that many games are played at once by indexing.

N positions, M moves, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from preflab.games.game import Game, State
from preflab.games.positions import reachable_positions

MOST_LISTED = 200_000
"""Most positions of a game that is listed."""


@dataclass(frozen=True)
class ListedGame:
    """Every position of a game and what its functions say about it."""

    game: Game
    states: tuple[State, ...]
    index: dict[State, int]
    """State → its row in the tables."""
    features: Tensor
    """(N, F) float32, what a network reads."""
    legal: Tensor
    """(N, M) bool, True = the move may be played."""
    after: Tensor
    """(N, M) row of the position after each legal move; 0 where the move is not legal."""
    sign: Tensor
    """(N,) 1 where player 0 moves, −1 where player 1 does."""
    over: Tensor
    """(N,) bool, True = the game has ended."""
    result: Tensor
    """(N,) what player 0 gets in a final position; 0 elsewhere."""

    @classmethod
    def of(cls, game: Game, starts: Sequence[State] = ()) -> ListedGame:
        """List a game.

        Args:
            game: the game.
            starts: its first positions; empty: that of seed 0.

        Raises:
            PreflabError: it has too many positions to be listed.
        """
        states = tuple(reachable_positions(game, starts, most=MOST_LISTED))
        index = {state: row for row, state in enumerate(states)}
        legal = torch.zeros(len(states), len(game.moves), dtype=torch.bool)
        after = torch.zeros(len(states), len(game.moves), dtype=torch.long)
        places = {move: column for column, move in enumerate(game.moves)}
        for row, state in enumerate(states):
            for move in game.legal_moves(state):
                legal[row, places[move]] = True
                after[row, places[move]] = index[game.play(state, move)]
        results = [game.result(state) for state in states]
        return cls(
            game,
            states,
            index,
            torch.tensor(_features(game, states), dtype=torch.float32),
            legal,
            after,
            torch.tensor([1.0 - 2.0 * game.player(state) for state in states]),
            torch.tensor([result is not None for result in results]),
            torch.tensor([result or 0.0 for result in results]),
        )

    def random_starts(self, first: Tensor, num_plies: Tensor, generator: torch.Generator) -> Tensor:
        """(B,) rows reached from `first` by `num_plies` (B,) random moves, or by fewer if the game would end."""
        rows = first.clone()
        for ply in range(int(num_plies.max()) if len(num_plies) else 0):
            moves = torch.multinomial(self.legal[rows].float(), 1, generator=generator)[:, 0]
            following = self.after[rows, moves]
            goes_on = (ply < num_plies) & ~self.over[following]
            rows = torch.where(goes_on, following, rows)
        return rows


def _features(game: Game, states: Sequence[State]) -> list[list[float]]:
    """The game's own `features`, or which value each entry of the state has (one-hot), over all positions."""
    if game.features is not None:
        return [[float(value) for value in game.features(state)] for state in states]
    entries = [state if isinstance(state, tuple) else (state,) for state in states]
    width = max(len(entry) for entry in entries)
    values: list[dict[Any, None]] = [
        dict.fromkeys(entry[place] for entry in entries if place < len(entry)) for place in range(width)
    ]
    return [
        [float(place < len(entry) and entry[place] == value) for place in range(width) for value in values[place]]
        for entry in entries
    ]
