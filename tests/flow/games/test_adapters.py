"""Games as environments and environments as games, with small environments of one's own; no library is needed."""

from __future__ import annotations

import itertools
import json
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.games.as_gymnasium import as_gymnasium
from preflab.games.as_pettingzoo import as_pettingzoo
from preflab.games.check import check_game
from preflab.games.environments import game_of_gymnasium, game_of_pettingzoo
from preflab.games.exact_values import ExactValues
from preflab.games.game import Game, load_game
from preflab.games.places import open_game
from preflab.games.positions import reachable_positions
from preflab.games.q_learning import QSettings, learn_by_q
from preflab.games.spaces import Choice, Together, Vectors

EXAMPLE = str(Path(__file__).parents[3] / "examples" / "my_first_game.py")


@dataclass
class Corridor:
    """Cells 0 to 3. Action 0 goes left, 1 right; each costs 1; at cell 3 it ends. Left is masked in cell 0."""

    slips: str = ""
    actions: Any = None

    def __post_init__(self) -> None:
        self.action_space = self.actions or Choice(2)
        self.observation_space = Choice(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.cell, self.np_random = 0, np.random.default_rng(seed)
        return self.cell, self.info()

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        drawn = {"": 0.0, "random": random.random(), "np_random": self.np_random.random()}[self.slips]
        if drawn < 0.5:
            self.cell += 1 if action else -1
        return self.cell, -1.0, self.cell == 3, False, self.info()

    def info(self) -> dict[str, Any]:
        return {"action_mask": np.array([self.cell > 0, True], dtype=np.int8)}


class Counter(Corridor):
    """Shows whether an even number of actions was done, and ends after the third: the observation is not all."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.done: list[int] = []
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.done.append(action)
        return 0 if len(self.done) < 3 else sum(self.done), 0.0, len(self.done) == 3, False, {}


def test_corridor_by_hand() -> None:
    """Three steps to the right cost 3; from cell 1 with a step gone the rest costs 2."""
    game = game_of_gymnasium(Corridor, max_moves=5)
    assert (game.name, game.moves, game.num_players) == ("Corridor", (0, 1), 1)
    assert check_game(game, num_games=30) == []
    first = game.start(0)
    assert game.start(1) == first, "the observation is the position, whatever the seed"
    assert list(game.legal_moves(first)) == [1]
    exact = ExactValues(game)
    assert exact.value(first) == -3.0
    second = game.play(first, 1)
    assert exact.move_values(second) == {0: -5.0, 1: -3.0}
    assert game.show(second) == "1\nmove 1, rewards -1"
    end = game.play(game.play(second, 1), 1)
    assert (game.result(end), list(game.legal_moves(end))) == (-3.0, [])


def test_moves_are_limited() -> None:
    """1, 0, 1, 0: four steps and no end; the rewards so far are the result."""
    game = game_of_gymnasium(Corridor, max_moves=4)
    state = game.start(0)
    for move in (1, 0, 1, 0):
        assert game.result(state) is None
        state = game.play(state, move)
    assert game.result(state) == -4.0


def test_a_limit_of_no_moves_is_refused() -> None:
    with pytest.raises(PreflabError, match="Corridor: max_moves=0"):
        game_of_gymnasium(Corridor, max_moves=0)


def test_positions_are_actions_without_merge() -> None:
    game = game_of_gymnasium(Corridor, max_moves=5, merge=False)
    assert game.play(game.play(game.start(3), 1), 0) == (3, 1, 0)
    assert check_game(game, num_games=30) == []
    assert ExactValues(game).value(game.start(0)) == -3.0


def test_a_table_learns_an_environment() -> None:
    game = game_of_gymnasium(Corridor, max_moves=5)
    *_, table = learn_by_q(game, QSettings(num_games=200, alpha=1.0))
    assert max(table.move_values(game.start(0)).values()) == -3.0


@pytest.mark.parametrize("slips", ["random", "np_random"])
def test_a_random_environment_is_refused_by_name(slips: str) -> None:
    with pytest.raises(PreflabError) as error:
        game_of_gymnasium(lambda: Corridor(slips))
    assert error.value.found.startswith("Corridor: actions (")
    assert error.value.expected.startswith("a deterministic environment")


def test_randomness_that_comes_later_is_found_by_the_check() -> None:
    """The environment is deterministic while it is opened, and random from then on."""
    env = Corridor()
    game = game_of_gymnasium(lambda: env, merge=False)
    env.slips = "random"
    violations = check_game(game, num_games=200)
    assert any("Corridor: actions (" in one.found for one in violations), violations


def test_actions_that_are_not_discrete_are_refused() -> None:
    space = Vectors(np.zeros(2, dtype=np.float32), np.ones(2, dtype=np.float32))
    space.__class__.__str__ = lambda self: "Box(2)"  # type: ignore[method-assign,assignment]
    with pytest.raises(PreflabError) as error:
        game_of_gymnasium(lambda: Corridor(actions=space))
    assert "actions of the space Box(2)" in error.value.found
    assert "discrete" in error.value.expected


def test_an_observation_that_is_not_all_cannot_be_merged() -> None:
    game = game_of_gymnasium(Counter, merge=True)
    with pytest.raises(PreflabError, match="lead to one observation, but from there equal actions"):
        reachable_positions(game)
    apart = game_of_gymnasium(Counter, merge=False)
    assert len(reachable_positions(apart)) == 1 + 2 + 4 + 8


def test_cliff_there_and_back() -> None:
    """A reset draws one of the two cells S; the way to the goal along the cliff earns 1."""
    cliff = load_game("cliff")
    env = as_gymnasium(cliff, render_mode="ansi")
    seen = {tuple(env.reset(seed=seed)[0]) for seed in range(20)}
    assert len(seen) == 2
    back = game_of_gymnasium(lambda: as_gymnasium(cliff), max_moves=20, merge=True)
    assert back.num_players == 1
    assert check_game(back, num_games=20) == []
    assert ExactValues(back).value(back.start(0)) == 1.0
    assert back.features is not None
    assert sum(back.features(back.start(0))) == 3.0, "one for each of row, column and steps left"


def test_one_player_sees_masks_and_the_result() -> None:
    env = as_gymnasium(load_game("cliff"), num_starts=1, render_mode="ansi")
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation.dtype == np.float32
    names, rewards = load_game("cliff").moves, []
    assert env.render() == load_game("cliff").show(load_game("cliff").start(0))
    legal = {name for name, may in zip(names, info["action_mask"], strict=True) if may}
    assert legal == set(load_game("cliff").legal_moves(load_game("cliff").start(0)))
    for name in ("up", *["right"] * 5, "down"):
        _, reward, terminated, truncated, _ = env.step(names.index(name))
        rewards.append(reward)
    assert (rewards, terminated, truncated) == ([0.0] * 6 + [1.0], True, False)
    with pytest.raises(PreflabError, match="no game is going on"):
        env.step(0)


def test_an_illegal_action_ends_the_game() -> None:
    env = as_gymnasium(load_game("cliff"), illegal_reward=-7.0)
    _, info = env.reset(seed=0)
    assert env.step(list(info["action_mask"]).index(0))[1:3] == (-7.0, True)
    with pytest.raises(PreflabError, match="no game is going on"):
        env.step(0)


@pytest.mark.parametrize("action", [-1, 9])
def test_an_action_that_does_not_exist_ends_the_game(action: int) -> None:
    """The last cell is free, and −1 is not a name for it."""
    alone = as_gymnasium(load_game("tic_tac_toe"), opponent="random")
    alone.reset(seed=0)
    assert alone.step(action)[1:3] == (-1.0, True)
    two = as_pettingzoo(load_game("tic_tac_toe"))
    two.reset(seed=0)
    two.step(action)
    assert two.rewards == {"player_0": -1.0, "player_1": 0.0}


@pytest.mark.parametrize("side", [0, 1])
def test_the_exact_opponent_never_loses(side: int) -> None:
    env = as_gymnasium(load_game("tic_tac_toe"), opponent="exact", side=side)
    assert env.opponent == "exact"
    rewards = set()
    for seed in range(30):
        observation, info = env.reset(seed=seed)
        assert observation[:9].sum() == 0, "the agent's own marks"
        assert observation[9:].sum() == side, "the opponent has moved if it begins"
        terminated, rng = False, random.Random(seed)
        while not terminated:
            action = rng.choice(np.flatnonzero(info["action_mask"]))
            _, reward, terminated, _, info = env.step(int(action))
        rewards.add(reward)
    assert rewards <= {-1.0, 0.0}
    assert -1.0 in rewards


def test_equal_seeds_play_equal_games() -> None:
    def played(seed: int) -> list[bytes]:
        env = as_gymnasium(load_game("tic_tac_toe"), opponent="random")
        seen, info = env.reset(seed=seed)
        boards, terminated = [seen.tobytes()], False
        while not terminated:
            seen, _, terminated, _, info = env.step(int(np.flatnonzero(info["action_mask"])[0]))
            boards.append(seen.tobytes())
        return boards

    assert played(3) == played(3)
    assert len({tuple(played(seed)) for seed in range(5)}) > 1


def test_a_game_of_two_needs_an_opponent() -> None:
    for place, opponent in (("tic_tac_toe", None), ("cliff", "exact")):
        with pytest.raises(PreflabError, match="an opponent in a game of two, none in a game of one"):
            as_gymnasium(load_game(place), opponent=opponent)
    for place, opponent, side in (("tic_tac_toe", "exact", 2), ("cliff", None, 1)):
        with pytest.raises(PreflabError, match=f"{place}: side={side}\n"):
            as_gymnasium(load_game(place), opponent=opponent, side=side)
    with pytest.raises(PreflabError, match="no opponent 'exakt'"):
        as_gymnasium(load_game("tic_tac_toe"), opponent="exakt")
    with pytest.raises(PreflabError, match="a game of one player"):
        as_pettingzoo(load_game("cliff"))


def test_nim_there_and_back() -> None:
    """Twelve matches: who begins takes 3 and wins; nine positions of the first player and so on stay what they were."""
    nim = load_game(EXAMPLE)
    back = game_of_pettingzoo(lambda: as_pettingzoo(nim), merge=True)
    assert (back.name, back.num_players, back.moves) == ("my_first_game", 2, (0, 1, 2))
    assert check_game(back, num_games=50) == []
    assert ExactValues(back).best_moves(back.start(0)) == {2}, "the third move takes 3 matches"
    assert ExactValues(back).value(back.start(0)) == 1.0
    assert [back.player(state) for state in (back.start(0), back.play(back.start(0), 1))] == [0, 1]


def test_agents_act_leave_and_are_rewarded() -> None:
    """Nim with two matches: player 0 takes one, player 1 must take the last one and loses."""
    nim = replace(load_game(EXAMPLE), start=lambda seed: (2, 0))
    env = as_pettingzoo(nim, render_mode="ansi")
    env.reset(seed=0)
    log = []
    for agent in env.agent_iter():
        observation, reward, terminated, truncated, _ = env.last()
        log.append((agent, reward, terminated, observation["action_mask"].tolist()))
        assert not truncated
        env.step(None if terminated else 0)
    assert log == [
        ("player_0", 0.0, False, [1, 1, 0]),
        ("player_1", 0.0, False, [1, 0, 0]),
        ("player_0", 1.0, True, [0, 0, 0]),
        ("player_1", -1.0, True, [0, 0, 0]),
    ]
    assert (env.agents, env.num_agents, env.max_num_agents) == ([], 0, 2)
    env.reset()
    env.step(2)  # three matches of two
    assert env.rewards == {"player_0": -1.0, "player_1": 0.0}
    with pytest.raises(ValueError, match="the only valid action is None"):
        env.step(0)


def unfair(rewards: dict[str, float]) -> Game:
    """Nim whose agents get these rewards at the end."""
    env = as_pettingzoo(replace(load_game(EXAMPLE), start=lambda seed: (1, 0)))
    step = env.step

    def paid(action: int | None) -> None:
        step(action)
        env.rewards = {agent: rewards[agent] for agent in env.rewards}

    env.step = paid  # type: ignore[method-assign]
    return game_of_pettingzoo(lambda: env)


def test_rewards_must_add_up_to_0() -> None:
    assert unfair({"player_0": 2.0, "player_1": -2.0}).num_players == 2
    with pytest.raises(PreflabError, match="the agents end with 1 and 1"):
        unfair({"player_0": 1.0, "player_1": 1.0})


def test_other_environments_are_refused() -> None:
    three = SimpleNamespace(last=0, agent_iter=0, possible_agents=["a", "b", "c"])
    with pytest.raises(PreflabError, match="3 agents"):
        game_of_pettingzoo(lambda: three)
    with pytest.raises(PreflabError, match="an AEC environment"):
        game_of_pettingzoo(Corridor)


def test_own_spaces() -> None:
    choice = Choice(5)
    assert {choice.sample(np.array([0, 1, 0, 1, 0])) for _ in range(40)} == {1, 3}
    assert 4 in choice
    assert not any(value in choice for value in (5, -1, 1.5, "a"))
    vectors = Vectors(np.array([0, -1], dtype=np.int8), np.array([1, 1], dtype=np.int8))
    drawn = {tuple(vectors.sample().tolist()) for _ in range(200)}
    assert drawn == set(itertools.product((0, 1), (-1, 0, 1)))
    assert np.array([2, 0], dtype=np.int8) not in vectors
    assert np.zeros(3, dtype=np.int8) not in vectors
    both = Together({"one": choice, "two": vectors})
    both.seed(1)
    assert both.sample() in both
    assert {"one": 1} not in both
    assert both["one"] is choice


def test_games_of_environments_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "walk.py"
    path.write_text(
        "from flow.games.test_adapters import Corridor\n"
        "from preflab.games.environments import game_of_gymnasium\n"
        "GAME = game_of_gymnasium(Corridor, name='walk', max_moves=5)\n",
        encoding="utf-8",
    )
    assert run_command(["game", "check", str(path)]) == 0
    assert "walk: keeps the contract in 200 random games" in capsys.readouterr().out
    assert run_command(["game", "learn", str(path), "--games", "200"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "    200  -3.00  -3.00"


@pytest.mark.parametrize("place", ["gymnasium:NoSuchWalk-v0", "pettingzoo:no.such.module"])
def test_places_that_are_not_there(place: str) -> None:
    with pytest.raises(PreflabError) as error:
        open_game(place)
    assert error.value.found.startswith(f"{place}: ")


def test_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)  # its import fails as that of a missing package
    with pytest.raises(PreflabError) as error:
        open_game("gymnasium:CliffWalking-v1")
    assert error.value.found == "gymnasium:CliffWalking-v1: gymnasium is not installed"
    assert "pip install gymnasium" in error.value.do


def test_environment_without_a_name_is_refused() -> None:
    with pytest.raises(PreflabError, match="^gymnasium: names no environment"):
        open_game("gymnasium:")


def test_playouts_of_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(make=lambda name: Corridor(), error=SimpleNamespace(Error=KeyError))
    monkeypatch.setitem(sys.modules, "gymnasium", library)
    out = tmp_path / "playouts.jsonl"
    words = ["game", "playouts", "gymnasium:Walk-v0", "--out", str(out), "--prompts", "1", "--plies", "0", "--num", "2"]
    assert run_command([*words, "--games", "50"]) == 0
    assert [json.loads(line)["clip"]["end"][:14] for line in out.read_text().splitlines()] == ["The game ended"] * 2
