"""A game as an environment with Gymnasium's methods; Gymnasium itself is used if installed, and not needed.

    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(action)

An action is the number of a move in `MOVES`; `info["action_mask"]` has a 1 for each legal one. The observation is what
a network of preflab reads: the game's `features`, or which value each entry of the state has. The reward is 0 until the
game ends and then its result for the side that is played. An illegal action ends the game with `illegal_reward`, as
PettingZoo's `TerminateIllegalWrapper` does.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from preflab.errors import PreflabError
from preflab.games.exploitability import Policy
from preflab.games.game import Game
from preflab.games.listed_game import ListedGame
from preflab.games.opponents import opponent_of
from preflab.games.spaces import choice_space, vector_space, with_base

NUM_STARTS = 10


def as_gymnasium(game: Game, **settings: Any) -> GymnasiumGame:
    """A game as an environment; the settings are those of `GymnasiumGame`.

    Where Gymnasium is installed the object is a `gymnasium.Env`.

    Raises:
        PreflabError: a game of two needs an opponent, or the game has too many positions to be listed.
    """
    made = with_base(GymnasiumGame, "gymnasium", "Env")(game, **settings)
    assert isinstance(made, GymnasiumGame)
    return made


class GymnasiumGame:
    """A game for one agent; in a game of two an opponent plays the other side.

    Args:
        game: the game.
        opponent: of a game of two: `exact`, `random`, or a function from a position to the probability of each move.
        side: of a game of two: the player that the agent is, 0 or 1.
        num_starts: a reset draws one of the first positions `start(0)` to `start(num_starts - 1)`.
        illegal_reward: reward of an illegal action, which ends the game.
        render_mode: `ansi`, or None.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 1}
    spec: Any = None

    def __init__(
        self,
        game: Game,
        *,
        opponent: str | Policy | None = None,
        side: int = 0,
        num_starts: int = NUM_STARTS,
        illegal_reward: float = -1.0,
        render_mode: str | None = None,
    ) -> None:
        if (game.num_players == 2) != (opponent is not None):
            raise PreflabError(
                f"{game.name}: a game of {game.num_players}, opponent={opponent!r}",
                "an opponent in a game of two, none in a game of one",
                'pass opponent="exact", opponent="random" or a policy' if opponent is None else "leave opponent out",
            )
        if side not in range(game.num_players):
            raise PreflabError(
                f"{game.name}: side={side!r}",
                f"the player that the agent is, {' or '.join(map(str, range(game.num_players)))}",
                "correct side",
            )
        self.game, self.side, self.illegal_reward, self.render_mode = game, side, illegal_reward, render_mode
        self.opponent = opponent if isinstance(opponent, str) or opponent is None else "a policy"
        self._reply = opponent_of(game, opponent) if isinstance(opponent, str) else opponent
        self._starts = [game.start(seed) for seed in range(num_starts)]
        self.listed = ListedGame.of(game, list(dict.fromkeys(self._starts)))
        self.action_space = choice_space(len(game.moves))
        self.observation_space = feature_space(self.listed)
        self._np_random: np.random.Generator | None = None
        self._np_random_seed: int | None = None
        self._row, self._is_over = 0, True

    @property
    def unwrapped(self) -> GymnasiumGame:
        """The environment itself."""
        return self

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """Begin a game; an opponent that moves first has moved.

        Args:
            seed: starts the random numbers anew: they draw the first position and the opponent's moves.
            options: not used.
        """
        if seed is not None or self._np_random is None:
            self._np_random, self._np_random_seed = np.random.default_rng(seed), seed
        start = self._starts[int(self._np_random.integers(len(self._starts)))]
        self._row, self._is_over = self.listed.index[start], False
        self._answer()
        return self._observation(), self._info()

    def step(self, action: int) -> tuple[np.ndarray[Any, Any], float, bool, bool, dict[str, Any]]:
        """Play a move and the opponent's answers: observation, reward, terminated, truncated (never), info.

        Raises:
            PreflabError: no game was begun, or it is over.
        """
        if self._is_over:
            raise PreflabError("step: no game is going on", "a game that is not over", "call reset first")
        if not is_legal(self.listed, self._row, action):
            self._is_over = True
            return self._observation(), self.illegal_reward, True, False, self._info() | {"illegal": True}
        self._row = int(self.listed.after[self._row, int(action)])
        self._answer()
        self._is_over = bool(self.listed.over[self._row])
        reward = self.game.result_of(self.side, self.listed.states[self._row]) if self._is_over else 0.0
        return self._observation(), float(reward), self._is_over, False, self._info()

    def render(self) -> str | None:
        """The position as the game shows it, in the render mode `ansi`."""
        return self.game.show(self.listed.states[self._row]) if self.render_mode == "ansi" else None

    def close(self) -> None:
        """Nothing is to be closed."""

    def _answer(self) -> None:
        """Let the opponent move until it is the agent's turn or the game is over."""
        while not bool(self.listed.over[self._row]):
            state = self.listed.states[self._row]
            if self.game.num_players == 1 or self.game.player(state) == self.side:
                return
            assert self._reply is not None
            assert self._np_random is not None
            probs = self._reply(state)
            chosen = list(probs)[int(self._np_random.choice(len(probs), p=list(probs.values())))]
            self._row = self.listed.index[self.game.play(state, chosen)]

    def _observation(self) -> np.ndarray[Any, Any]:
        return observation_of(self.listed, self._row)

    def _info(self) -> dict[str, Any]:
        return {"action_mask": mask_of(self.listed, self._row)}


def observation_of(listed: ListedGame, row: int) -> np.ndarray[Any, Any]:
    """(F,) float32, a new array of the features of a position."""
    return np.array(listed.features[row].numpy())


def mask_of(listed: ListedGame, row: int) -> np.ndarray[Any, Any]:
    """(M,) int8, a new array with a 1 for each legal move of a position."""
    return np.array(listed.legal[row].numpy().astype(np.int8))


def is_legal(listed: ListedGame, row: int, action: int) -> bool:
    """True if the action is the number of a legal move of a position; a negative number is none."""
    return 0 <= int(action) < len(listed.game.moves) and bool(listed.legal[row, int(action)])


def feature_space(listed: ListedGame) -> Any:
    """The space of all observations of a game."""
    return vector_space(listed.features.amin(0).numpy(), listed.features.amax(0).numpy())
