"""The adapters with Gymnasium and PettingZoo themselves: their own checks pass, their environments are games."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.games.as_gymnasium import as_gymnasium
from preflab.games.as_pettingzoo import as_pettingzoo
from preflab.games.check import check_game
from preflab.games.environments import game_of_gymnasium, game_of_pettingzoo
from preflab.games.exact_values import ExactValues
from preflab.games.game import load_game
from preflab.games.places import open_game
from preflab.games.positions import count_games, reachable_positions

gymnasium: Any = pytest.importorskip("gymnasium")
pettingzoo: Any = pytest.importorskip("pettingzoo")

EXAMPLE = str(Path(__file__).parents[3] / "examples" / "my_first_game.py")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Their checks warn of what is no error, such as an empty board of zeros."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def tictactoe() -> Any:
    pytest.importorskip("pygame")
    from importlib import import_module

    return import_module("pettingzoo.classic.tictactoe_v3")


@pytest.mark.parametrize(
    ("place", "settings"),
    [
        ("cliff", {"render_mode": "ansi"}),
        ("tic_tac_toe", {"opponent": "exact"}),
        ("tic_tac_toe", {"opponent": "random", "side": 1}),
        (EXAMPLE, {"opponent": "exact", "side": 1}),
    ],
)
def test_gymnasium_checks_a_game(place: str, settings: dict[str, Any]) -> None:
    from gymnasium.utils.env_checker import check_env

    env = as_gymnasium(load_game(place), **settings)
    assert isinstance(env, gymnasium.Env)
    check_env(env)


@pytest.mark.parametrize("place", ["tic_tac_toe", EXAMPLE])
def test_pettingzoo_checks_a_game(place: str) -> None:
    from pettingzoo.test import api_test, seed_test

    env = as_pettingzoo(load_game(place))
    assert isinstance(env, pettingzoo.AECEnv)
    api_test(env, num_cycles=300)
    seed_test(lambda: as_pettingzoo(load_game(place)), num_cycles=50)


def test_frozen_lake() -> None:
    """The shortest way of the 4 × 4 lake has six steps and earns 1 at the end: 0.9^5 from the first cell."""
    game = game_of_gymnasium(lambda: gymnasium.make("FrozenLake-v1", is_slippery=False), max_moves=20)
    assert check_game(game, num_games=50) == []
    assert ExactValues(game, discount=0.9).value(game.start(0)) == pytest.approx(0.9**5)


def test_cliff_walking() -> None:
    """One step up, eleven to the right, one down, each −1."""
    game = game_of_gymnasium(lambda: gymnasium.make("CliffWalking-v1"), max_moves=14)
    assert check_game(game, num_games=50) == []
    assert ExactValues(game).value(game.start(0)) == -13.0
    assert check_game(open_game("gymnasium:CliffWalking-v1"), num_games=10) == []


@pytest.mark.parametrize("name", ["FrozenLake-v1", "CliffWalkingSlippery-v1"])
def test_slippery_environments_are_refused(name: str) -> None:
    with pytest.raises(PreflabError, match=f"{name}: actions"):
        open_game(f"gymnasium:{name}")


def test_what_is_no_game_is_refused() -> None:
    with pytest.raises(PreflabError, match="actions of the space Box"):
        open_game("gymnasium:Pendulum-v1")
    with pytest.raises(PreflabError, match="an environment that Gymnasium knows"):
        open_game("gymnasium:NoSuchWalk-v0")


def test_tictactoe_is_checked(tictactoe: Any) -> None:
    game = open_game("pettingzoo:pettingzoo.classic.tictactoe_v3")
    assert (game.name, game.num_players, len(game.moves)) == ("tictactoe_v3", 2, 9)
    assert check_game(game, num_games=50) == []


@pytest.mark.slow
def test_tictactoe_is_tic_tac_toe(tictactoe: Any) -> None:
    game = game_of_pettingzoo(tictactoe.env, merge=True)
    assert len(reachable_positions(game)) == 5_478
    assert count_games(game) == {1.0: 131_184, -1.0: 77_904, 0.0: 46_080}
    assert ExactValues(game).value(game.start(0)) == 0.0
