"""A game of two as an environment with the methods of PettingZoo's AEC; PettingZoo is used if installed, not needed.

    env.reset(seed=0)
    for agent in env.agent_iter():
        observation, reward, terminated, truncated, info = env.last()
        env.step(None if terminated or truncated else choose(observation["action_mask"]))

An observation is a dictionary: `observation` holds what a network of preflab reads, `action_mask` a 1 for each legal
move, or only 0 if it is not the agent's turn. Rewards are 0 until the end. An illegal action ends the game: its agent
gets `illegal_reward` and the other 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from preflab.errors import PreflabError
from preflab.games.as_gymnasium import NUM_STARTS, feature_space, is_legal, mask_of, observation_of
from preflab.games.game import Game
from preflab.games.listed_game import ListedGame
from preflab.games.spaces import choice_space, dict_space, vector_space, with_base


def as_pettingzoo(game: Game, **settings: Any) -> PettingZooGame:
    """A game of two as an environment; the settings are those of `PettingZooGame`.

    Where PettingZoo is installed the object is a `pettingzoo.AECEnv`.

    Raises:
        PreflabError: the game is for one player, or has too many positions to be listed.
    """
    made = with_base(PettingZooGame, "pettingzoo", "AECEnv")(game, **settings)
    assert isinstance(made, PettingZooGame)
    return made


class PettingZooGame:
    """A game of two whose agents `player_0` and `player_1` act in turn.

    Args:
        game: the game.
        num_starts: a reset draws one of the first positions `start(0)` to `start(num_starts - 1)`.
        illegal_reward: reward of an illegal action, which ends the game.
        render_mode: `ansi`, or None.
    """

    def __init__(
        self,
        game: Game,
        *,
        num_starts: int = NUM_STARTS,
        illegal_reward: float = -1.0,
        render_mode: str | None = None,
    ) -> None:
        if game.num_players != 2:
            raise PreflabError(f"{game.name}: a game of one player", "a game of two", "use as_gymnasium")
        self.game, self.illegal_reward, self.render_mode = game, illegal_reward, render_mode
        self.metadata: dict[str, Any] = {
            "render_modes": ["ansi"], "name": game.name, "is_parallelizable": False, "render_fps": 1,
        }  # fmt: skip
        self._starts = [game.start(seed) for seed in range(num_starts)]
        self.listed = ListedGame.of(game, list(dict.fromkeys(self._starts)))
        self._rng: np.random.Generator | None = None
        self.possible_agents = ["player_0", "player_1"]
        zeros = np.zeros(len(game.moves), dtype=np.int8)
        self.action_spaces = {agent: choice_space(len(game.moves)) for agent in self.possible_agents}
        self.observation_spaces = {
            agent: dict_space(
                {"observation": feature_space(self.listed), "action_mask": vector_space(zeros, zeros + 1)}
            )
            for agent in self.possible_agents
        }

    @property
    def unwrapped(self) -> PettingZooGame:
        """The environment itself."""
        return self

    @property
    def num_agents(self) -> int:
        """Number of agents that still act."""
        return len(self.agents)

    @property
    def max_num_agents(self) -> int:
        """Number of agents: 2."""
        return len(self.possible_agents)

    def action_space(self, agent: str) -> Any:
        """The numbers of the moves."""
        return self.action_spaces[agent]

    def observation_space(self, agent: str) -> Any:
        """The dictionaries with `observation` and `action_mask`."""
        return self.observation_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin a game.

        Args:
            seed: starts the random numbers anew; they draw the first position.
            options: not used.
        """
        if seed is not None or self._rng is None:
            self._rng = np.random.default_rng(seed)
        self._row = self.listed.index[self._starts[int(self._rng.integers(len(self._starts)))]]
        self.agents = self.possible_agents[:]
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self.agent_selection = self._agent_to_move()

    def observe(self, agent: str) -> dict[str, np.ndarray[Any, Any]]:
        """An agent's observation; its mask is 0 when it is not its turn or the game is over."""
        mask = mask_of(self.listed, self._row)
        may_move = agent == self.agent_selection and not self.terminations.get(agent, True)
        return {"observation": observation_of(self.listed, self._row), "action_mask": mask * np.int8(may_move)}

    def last(self, observe: bool = True) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Of the agent whose turn it is: observation, rewards since its last action, terminated, truncated, info."""
        agent = self.agent_selection
        seen = self.observe(agent) if observe else None
        return (
            seen,
            self._cumulative_rewards[agent],
            self.terminations[agent],
            self.truncations[agent],
            self.infos[agent],
        )

    def agent_iter(self, max_iter: int = 2**63) -> Iterator[str]:
        """The agents in the order in which they act, until all have left; call `step` for each."""
        while self.agents and max_iter > 0:
            max_iter -= 1
            yield self.agent_selection

    def step(self, action: int | None) -> None:
        """Play a move for the agent whose turn it is; after the end each agent leaves by the action None.

        Raises:
            ValueError: an action other than None after the end.
        """
        agent = self.agent_selection
        if self.terminations[agent]:
            self._leave(agent, action)
            return
        self._cumulative_rewards[agent] = 0.0
        self.rewards = dict.fromkeys(self.agents, 0.0)
        if action is None or not is_legal(self.listed, self._row, action):
            self.rewards[agent] = self.illegal_reward
            self.terminations = dict.fromkeys(self.agents, True)
        else:
            self._row = int(self.listed.after[self._row, int(action)])
            if bool(self.listed.over[self._row]):
                self.terminations = dict.fromkeys(self.agents, True)
                state = self.listed.states[self._row]
                self.rewards = {each: float(self.game.result_of(self._side(each), state)) for each in self.agents}
        for each, reward in self.rewards.items():
            self._cumulative_rewards[each] += reward
        over = self.terminations[agent]
        self.agent_selection = self.possible_agents[1 - self._side(agent)] if over else self._agent_to_move()

    def render(self) -> str | None:
        """The position as the game shows it, in the render mode `ansi`."""
        return self.game.show(self.listed.states[self._row]) if self.render_mode == "ansi" else None

    def close(self) -> None:
        """Nothing is to be closed."""

    def __str__(self) -> str:
        return self.game.name

    def _leave(self, agent: str, action: int | None) -> None:
        if action is not None:
            raise ValueError("when an agent is dead, the only valid action is None")
        self.agents.remove(agent)
        for column in (self.rewards, self._cumulative_rewards, self.terminations, self.truncations, self.infos):
            del column[agent]
        self.rewards = dict.fromkeys(self.agents, 0.0)
        if self.agents:
            self.agent_selection = self.agents[0]

    def _agent_to_move(self) -> str:
        return self.possible_agents[self.game.player(self.listed.states[self._row])]

    def _side(self, agent: str) -> int:
        return self.possible_agents.index(agent)
