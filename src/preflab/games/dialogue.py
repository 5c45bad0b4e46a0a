"""A game as an environment: the policy's turns are moves, the opponent replies, the result is the reward.

    stages:
      ppo: {kind: ppo, model: base, environment: preflab.games.dialogue:GameEnvironment, …}

Columns of a prompt choose the game: `game` (as for `preflab game`), `opponent` (see `games.opponents`), `side`
(0: the policy is the first player), `plies` (random moves before the policy's first move). Everything random is drawn
from the episode's seed, so the episodes of a GRPO group share one start, and an opponent draws alike wherever its
position is the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

from preflab.environments.protocol import Reply
from preflab.errors import PreflabError
from preflab.games.game import Game, Move, State, playable_moves
from preflab.games.opponents import MIXTURE, draw_move, known_game, opponent_named
from preflab.games.words import OTHER, THEN, GameWords
from preflab.messages import Message
from preflab.records import Prompt
from preflab.seeds import derive_seed

ILLEGAL = -2.0
"""Reward of an illegal move, which ends the game as a loss. As a loss alone it would cost nothing in lost positions."""
NUM_TRIES = 100
"""Random beginnings that are drawn until one is not over before the policy's move."""


def game_prompts(
    game: str, opponent: str, *, plies: Sequence[int] = range(7), sides: Sequence[int] | None = None
) -> list[Prompt]:
    """One prompt for every side and number of random plies.

    Args:
        game: the game, as for `preflab game`.
        opponent: its name, see `games.opponents`.
        plies: numbers of random moves before the policy's first move.
        sides: the policy's sides; None: all of the game.
    """
    num_players = known_game(game).num_players
    return [
        Prompt.make(
            text=f"Play {game} as player {side} after {num} random moves against {opponent}.",
            columns={"game": game, "opponent": opponent, "side": side, "plies": num},
        )
        for side in (range(num_players) if sides is None else sides)
        for num in plies
    ]


class GameEnvironment:
    """One game of the policy against an opponent. Columns that a prompt lacks have the values below.

    Derive a class to change them: `class Cliff(GameEnvironment): game, opponent = "cliff", "random"`.
    """

    game: ClassVar[str] = "tic_tac_toe"
    opponent: ClassVar[str] = f"mixture:{MIXTURE}"
    plies: ClassVar[Sequence[int]] = range(7)
    """Numbers of random moves before the policy's first move, of the prompts that `prompts` makes."""

    @classmethod
    def prompts(cls) -> list[Prompt]:
        """One prompt for every side and number of random plies."""
        return game_prompts(cls.game, cls.opponent, plies=cls.plies)

    def reset(self, prompt: Prompt, seed: int) -> list[Message]:
        """Start a game; returns the conversation up to the policy's first move.

        Raises:
            PreflabError: a column has a wrong value, or the game ends before the policy can move.
        """
        columns = {"game": self.game, "opponent": self.opponent, "side": 0, "plies": 0, **prompt.columns}
        place = str(columns["game"])
        self._game = known_game(place)
        self._opponent = opponent_named(str(columns["opponent"]), place)
        self._words, self._side, self._seed = GameWords(self._game), _side(self._game, columns["side"]), seed
        start = self._game.start(derive_seed(seed, "start"))
        for attempt in range(NUM_TRIES):
            self._state, self._moves = start, list[Move]()
            self._play_randomly(int(columns["plies"]), random.Random(derive_seed(seed, "plies", attempt)))
            self._let_opponent_move()
            if not self._game.is_over(self._state):
                return self._words.conversation(self._side, start, self._moves)
        raise PreflabError(
            f"{place}: in {NUM_TRIES} random beginnings of {columns['plies']} moves player {self._side} never moves",
            "a beginning after which the game goes on",
            "lower `plies`",
        )

    def step(self, completion: str) -> Reply:
        """Play the policy's move and the opponent's reply; an illegal move ends the game with the loss."""
        move = self._words.read(completion)
        if move is None or move not in self._game.legal_moves(self._state):
            return Reply(reward=ILLEGAL, end=True, columns=_columns(ILLEGAL, illegal=True))
        self._play(move)
        num_before = len(self._moves)
        self._let_opponent_move()
        heard = [OTHER + self._words.of_move[move] for move in self._moves[num_before:]]
        if not self._game.is_over(self._state):
            return Reply(turn=" ".join(heard or [THEN]), columns=_columns(0.0))
        reward = self._game.result_of(self._side, self._state)
        return Reply(turn=" ".join(heard) or None, reward=reward, end=True, columns=_columns(reward))

    @property
    def moves(self) -> tuple[Move, ...]:
        """The moves so far, of both players."""
        return tuple(self._moves)

    @property
    def state(self) -> State:
        """The position."""
        return self._state

    def _play(self, move: Move) -> None:
        self._state = self._game.play(self._state, move)
        self._moves.append(move)

    def _play_randomly(self, num: int, rng: random.Random) -> None:
        """Random moves of both players, but none that ends the game."""
        for _ in range(num):
            move = rng.choice(playable_moves(self._game, self._state))
            if self._game.is_over(self._game.play(self._state, move)):
                return
            self._play(move)

    def _let_opponent_move(self) -> None:
        while not self._game.is_over(self._state) and self._game.player(self._state) != self._side:
            rng = random.Random(derive_seed(self._seed, "opponent", len(self._moves)))
            self._play(draw_move(self._game, self._opponent, self._state, rng))


def _side(game: Game, side: Any) -> int:
    if side not in range(game.num_players):
        raise PreflabError(
            f"the column `side` is {side!r}",
            f"the player that the policy is, {' or '.join(map(str, range(game.num_players)))}",
            "correct the column",
        )
    return int(side)


def _columns(reward: float, *, illegal: bool = False) -> dict[str, float]:
    return {"won": float(reward > 0), "lost": float(reward < 0), "illegal": float(illegal)}
