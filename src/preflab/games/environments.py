"""An environment of Gymnasium or PettingZoo as a game: actions are moves, the rewards added up are the result.

A position is the seed of the reset and the actions since. It is made again by stepping through these actions, and each
time the outcomes must be the same: an environment whose steps are random is refused. With `merge` a position is what is
seen: the observation, the number of moves and the rewards so far. Ways that lead to one observation are then one
position, as tables of values need. That is right if the observation holds all that matters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from preflab.errors import PreflabError
from preflab.games.game import Game
from preflab.games.replayed import Replayed, Seen, Stepper

DEFAULT_LIMIT = 30
"""Most moves of a game from an environment that names no limit."""


def game_of_gymnasium(
    make: Callable[[], Any], *, name: str | None = None, max_moves: int | None = None, merge: bool | None = None
) -> Game:
    """The game for one player that an environment with Gymnasium's methods is.

    Args:
        make: returns a new environment, such as `lambda: gymnasium.make("CliffWalking-v1")`.
        name: name of the game; None: that of the environment.
        max_moves: the game ends after this many moves; None: the environment's own limit, or 30.
        merge: a position is the observation, not the moves that led to it; None: if the observation is one number.

    Raises:
        PreflabError: the actions are not discrete, or the environment is not deterministic.
    """
    stepper = GymnasiumStepper(make())
    limit = getattr(getattr(stepper.env, "spec", None), "max_episode_steps", None)
    return _game(stepper, name, limit or DEFAULT_LIMIT if max_moves is None else max_moves, merge)


def game_of_pettingzoo(
    make: Callable[[], Any], *, name: str | None = None, max_moves: int | None = None, merge: bool | None = None
) -> Game:
    """The game that an AEC environment with PettingZoo's methods is, for two agents whose rewards add up to 0, or one.

    Args:
        make: returns a new environment, such as `tictactoe_v3.env`.
        name: name of the game; None: that of the environment.
        max_moves: the game ends after this many moves; None: 30.
        merge: a position is what the agent observes whose turn it is, not the moves that led to it; None: if the
            observation is one number.

    Raises:
        PreflabError: the actions are not discrete, the environment is not deterministic, or has more than two agents.
    """
    return _game(PettingZooStepper(make()), name, DEFAULT_LIMIT if max_moves is None else max_moves, merge)


class GymnasiumStepper(Stepper):
    """An environment with Gymnasium's methods."""

    num_players = 1

    def __init__(self, env: Any) -> None:
        super().__init__(env, env.action_space, env.observation_space)

    def reset(self, seed: int) -> Seen:
        """Begin anew."""
        self.total = 0.0
        observation, info = self.env.reset(seed=seed)
        return self._seen(observation, info, False)

    def step(self, action: int) -> Seen:
        """Act."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        return self._seen(observation, info, bool(terminated or truncated))

    def _seen(self, observation: Any, info: dict[str, Any], is_over: bool) -> Seen:
        return Seen(copy.deepcopy(observation), self.mask_of(observation, info), 0, self.total, is_over)


class PettingZooStepper(Stepper):
    """An AEC environment with PettingZoo's methods."""

    def __init__(self, env: Any) -> None:
        if not hasattr(env, "last") or not hasattr(env, "agent_iter"):
            raise PreflabError(
                f"{env}: an environment without `last` and `agent_iter`",
                "an AEC environment: its agents act in turn",
                "turn a parallel one into it by pettingzoo.utils.parallel_to_aec",
            )
        agents = list(env.possible_agents)
        if len(agents) > 2:
            raise PreflabError(f"{env}: {len(agents)} agents", "one or two", "choose another environment")
        sizes = [getattr(env.action_space(agent), "n", None) for agent in agents]
        if len(set(sizes)) > 1:
            raise PreflabError(
                f"{env}: agents with {sizes[0]} and {sizes[1]} actions",
                "the same moves for both",
                "mask the moves that one of them lacks",
            )
        self.agents, self.num_players = agents, len(agents)
        super().__init__(env, env.action_space(agents[0]), env.observation_space(agents[0]))

    def reset(self, seed: int) -> Seen:
        """Begin anew."""
        self.totals = dict.fromkeys(self.agents, 0.0)
        self.env.reset(seed=seed)
        return self._seen()

    def step(self, action: int) -> Seen:
        """Act for the agent whose turn it is."""
        self.env.step(action)
        for agent, reward in self.env.rewards.items():
            self.totals[agent] += float(reward)
        return self._seen()

    def _seen(self) -> Seen:
        env = self.env
        while env.agents and (env.terminations[env.agent_selection] or env.truncations[env.agent_selection]):
            observation, *_ = env.last()
            env.step(None)
            if not env.agents:
                return Seen(copy.deepcopy(observation), (), 0, self._result(), True)
        observation, _, _, _, info = env.last()
        turn = self.agents.index(env.agent_selection)
        legal, total = self.mask_of(observation, info), self.totals[self.agents[0]]
        return Seen(copy.deepcopy(observation), legal, turn, total, False)

    def _result(self) -> float:
        first, *others = self.totals.values()
        if others and abs(first + others[0]) > 1e-9:
            raise PreflabError(
                f"{self.env}: the agents end with {first:g} and {others[0]:g}",
                "one agent wins what the other loses",
                "choose an environment whose rewards add up to 0",
            )
        return first


def _game(stepper: Stepper, name: str | None, max_moves: int, merge: bool | None) -> Game:
    if max_moves < 1:
        raise PreflabError(f"{stepper.name}: max_moves={max_moves}", "at least 1", "leave it out, or raise it")
    replayed = Replayed(stepper, max_moves, stepper.has_one_number if merge is None else merge)
    replayed.require_deterministic()
    game = Game(
        name=name or str(stepper.name),
        moves=stepper.moves,
        num_players=stepper.num_players,
        start=replayed.start,
        legal_moves=replayed.legal_moves,
        play=replayed.play,
        result=replayed.result,
        show=replayed.show,
        player=lambda state: replayed.seen(state).player,
    )
    is_array = (
        not stepper.has_one_number and np.asarray(stepper.plain(replayed.seen(replayed.start(0)).observation)).size
    )
    return replace(game, features=replayed.features) if is_array else game
