"""Players while they learn a game: how many games each step plays, what the player thinks, what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from preflab.games.exact_values import ExactValues
from preflab.games.exploitability import Policy, exploitability, worst_case_value
from preflab.games.game import Game, Move, State
from preflab.games.grpo import GameGrpoSettings, train_grpo
from preflab.games.listed_game import ListedGame
from preflab.games.network import NetworkPlayer, network_of
from preflab.games.ppo import GamePpoSettings, train_ppo
from preflab.games.q_learning import QSettings, QTable, learn_by_q


@dataclass(frozen=True)
class Thoughts:
    """A player's view of every position. Read it before the player learns on: a table is changed in place."""

    policy: Policy
    move_values: Callable[[State], Mapping[Move, float]] | None = None
    """The value of each legal move for the player whose turn it is; None if the player has no values."""
    value: Callable[[State], float] | None = None
    """The value of a position for the player whose turn it is; None if the player has no values."""


@dataclass(frozen=True)
class Learning:
    """A player that learns when `steps` is iterated over."""

    num_games: int
    think: Callable[[], Thoughts]
    """The player's view at this moment."""
    steps: Iterator[int]
    """Number of games that each step plays."""


def learn_exactly(game: Game, discount: float) -> Learning:
    """The perfect player. It computes its answer and plays no games."""
    exact = ExactValues(game, discount)
    return Learning(0, lambda: Thoughts(exact.policy, exact.move_values, exact.value), iter(()))


def learn_by_table(game: Game, settings: QSettings) -> Learning:
    """A player that learns by Q-learning."""
    tables = [QTable(game, use_symmetries=settings.use_symmetries)]

    def steps() -> Iterator[int]:
        for table in learn_by_q(game, settings):
            tables[0] = table
            yield 1

    def think() -> Thoughts:
        table = tables[0]
        return Thoughts(table.policy, table.move_values, lambda state: max(table.move_values(state).values()))

    return Learning(settings.num_games, think, steps())


def learn_by_network(
    game: Game, *, by_ppo: bool, num_games: int, discount: float, seed: int, starts: Sequence[State] = ()
) -> Learning:
    """A network that learns by PPO, or by GRPO, which has no values.

    Args:
        game: the game.
        by_ppo: PPO, else GRPO.
        num_games: number of games, rounded up to whole steps of 512.
        discount: γ per move, of PPO.
        seed: seed of the network and of the games.
        starts: first positions from which positions are listed; the first of them is where games begin. Empty: that of
            seed 0.
    """
    listed = ListedGame.of(game, starts)
    network = network_of(listed, seed=seed)
    per_step = GamePpoSettings.num_games_per_step
    num_steps = -(-num_games // per_step)
    if by_ppo:
        steps = train_ppo(listed, network, GamePpoSettings(num_steps=num_steps, gamma=discount, seed=seed))
    else:
        groups = per_step // GameGrpoSettings.num_games_per_group
        settings = GameGrpoSettings(num_steps=num_steps, num_groups_per_step=groups, seed=seed)
        steps = train_grpo(listed, network, settings)

    def think() -> Thoughts:
        player = NetworkPlayer(listed, network)
        if not by_ppo:
            return Thoughts(player.policy)
        return Thoughts(player.policy, partial(player.move_values, discount=discount), player.value)

    return Learning(num_steps * per_step, think, (per_step for _ in steps))


def snapshots(learning: Learning, num: int = 10) -> Iterator[tuple[int, Thoughts]]:
    """Games played and thoughts: before the first game, then `num` times at equal distances, the last at the end."""
    done = 0
    yield 0, learning.think()
    for played in learning.steps:
        before, done = done, done + played
        if done * num // learning.num_games > before * num // learning.num_games:
            yield done, learning.think()


def measure_player(game: Game, policy: Policy) -> dict[str, float]:
    """Worth of the player's likeliest moves: exploitability on both sides, or its result and the best one."""
    if game.num_players == 2:
        worth = exploitability(game, policy, likeliest=True)
        return {"first": worth.first, "second": worth.second}
    return {
        "result": worst_case_value(game, policy, 0),
        "best": ExactValues(game, discount=1.0).value(game.start(0)),
    }
