"""Tabular Q-learning (Watkins 1989), by self-play in games of two.

After a move a in state s that leads to s':

    target = the result of the game             if s' is final, for the player who moved
             γ max_a' Q(s', a')                 if the same player moves again
             −γ max_a' Q(s', a')                if the opponent moves: what is good for the opponent is bad for us
    Q(s, a) ← Q(s, a) + α (target − Q(s, a))

Moves are chosen ε-greedily: a random legal move with probability ε, otherwise a best one, ties drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from preflab.games.game import Game, Move, State, playable_moves
from preflab.games.positions import canonical


@dataclass(frozen=True)
class QSettings:
    """Settings of Q-learning."""

    num_games: int = 10_000
    alpha: float = 0.5
    """Step size α, 0 < α ≤ 1."""
    epsilon: float = 0.3
    """Probability ε of a random move."""
    discount: float = 1.0
    """γ per move."""
    use_symmetries: bool = True
    """Store equivalent positions as one, if the game names its symmetries."""
    seed: int = 0


class QTable:
    """State → value of each legal move for the player whose turn it is; 0 where nothing was learned yet."""

    def __init__(self, game: Game, *, use_symmetries: bool = True) -> None:
        self.game, self.use_symmetries = game, use_symmetries
        self.values: dict[State, dict[Move, float]] = {}

    def entry(self, state: State) -> tuple[dict[Move, float], Mapping[Move, Move]]:
        """The stored values of a position, and the name that each move has there."""
        key, names = canonical(self.game, state) if self.use_symmetries else (state, {m: m for m in self.game.moves})
        if key not in self.values:
            self.values[key] = dict.fromkeys(playable_moves(self.game, key), 0.0)
        return self.values[key], names

    def move_values(self, state: State) -> dict[Move, float]:
        """Q(s, a) of each legal move."""
        entry, names = self.entry(state)
        return {move: entry[names[move]] for move in playable_moves(self.game, state)}

    def best_moves(self, state: State) -> list[Move]:
        """The moves of the highest value; several if they tie."""
        values = self.move_values(state)
        best = max(values.values())
        return [move for move, value in values.items() if value == best]

    def policy(self, state: State) -> dict[Move, float]:
        """The player that chooses evenly among its best moves."""
        best = self.best_moves(state)
        return {move: 1 / len(best) if move in best else 0.0 for move in playable_moves(self.game, state)}

    def learn(self, state: State, move: Move, target: float, alpha: float) -> None:
        """Q(s, a) ← Q(s, a) + α (target − Q(s, a))."""
        entry, names = self.entry(state)
        entry[names[move]] += alpha * (target - entry[names[move]])


def learn_by_q(game: Game, settings: QSettings) -> Iterator[QTable]:
    """Play `num_games` games against itself; yields the table after every game (always the same object)."""
    rng = random.Random(f"q-learning {settings.seed}")
    table = QTable(game, use_symmetries=settings.use_symmetries)
    for number in range(settings.num_games):
        state = game.start(number)
        while not game.is_over(state):
            explores = rng.random() < settings.epsilon
            move = rng.choice(playable_moves(game, state) if explores else table.best_moves(state))
            after = game.play(state, move)
            table.learn(state, move, _target(game, table, state, after, settings.discount), settings.alpha)
            state = after
        yield table


def _target(game: Game, table: QTable, state: State, after: State, discount: float) -> float:
    mover = game.player(state)
    if game.is_over(after):
        return game.result_of(mover, after)
    best = max(table.move_values(after).values())
    return discount * best if game.player(after) == mover else -discount * best
