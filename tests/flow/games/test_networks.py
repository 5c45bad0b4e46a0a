"""A network learns a game by PPO and by GRPO: the same seed plays the same games, a resumed run is the whole one."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.games.exploitability import Exploitability, exploitability
from preflab.games.game import load_game
from preflab.games.grpo import GameGrpoSettings, train_grpo
from preflab.games.learners import learn_by_network, snapshots
from preflab.games.listed_game import ListedGame
from preflab.games.network import Network, NetworkPlayer, network_of
from preflab.games.ppo import GamePpoSettings, train_ppo

SMALL: dict[str, tuple[Any, Any]] = {
    "ppo": (train_ppo, GamePpoSettings(num_steps=6, num_games_per_step=32)),
    "grpo": (train_grpo, GameGrpoSettings(num_steps=6, num_groups_per_step=4, num_games_per_group=8)),
}


@pytest.fixture(scope="module")
def board() -> ListedGame:
    return ListedGame.of(load_game("tic_tac_toe"))


def trained(board: ListedGame, name: str, folder: Path | None = None, **changes: Any) -> tuple[Network, list[Any]]:
    train, settings = SMALL[name]
    network = network_of(board, width=16, seed=1)
    return network, list(train(board, network, dataclasses.replace(settings, **changes), folder))


def same(one: Network, other: Network) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_plays_the_same_games(board: ListedGame, name: str) -> None:
    (first, rows), (second, again) = trained(board, name), trained(board, name)
    assert rows == again
    assert same(first, second)
    assert not same(first, trained(board, name, seed=1)[0])


@pytest.mark.parametrize("name", SMALL)
def test_resume_is_bit_for_bit(board: ListedGame, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from preflab.games import grpo, ppo

    for module in (ppo, grpo):
        monkeypatch.setattr(module, "SAVE_EVERY", 2)
    whole, rows = trained(board, name)
    train, settings = SMALL[name]
    network = network_of(board, width=16, seed=1)
    for row in train(board, network, settings, tmp_path):
        if row["step"] == 4:  # killed after step 5; the last checkpoint is of step 4
            break
    resumed, later = trained(board, name, tmp_path)
    assert [row["step"] for row in later] == [4, 5]
    assert later == rows[4:]
    assert same(whole, resumed)


def test_a_checkpoint_of_another_network_is_refused(board: ListedGame, tmp_path: Path) -> None:
    trained(board, "ppo", tmp_path)
    with pytest.raises(PreflabError):
        list(train_ppo(board, Network(18, 9, width=8), SMALL["ppo"][1], tmp_path))


def test_a_new_network_knows_nothing(board: ListedGame) -> None:
    """Every legal move is equally likely, every value 0, and no illegal move ever."""
    player = NetworkPlayer(board, network_of(board))
    assert player.policy((0,) * 9) == pytest.approx(dict.fromkeys(range(9), 1 / 9))
    assert set(player.policy((1, 2, 0, 0, 0, 0, 0, 0, 0))) == {2, 3, 4, 5, 6, 7, 8}
    assert float(player.probs[~board.legal].sum()) == 0.0


def test_random_starts_are_never_final(board: ListedGame) -> None:
    first, plies = torch.zeros(500, dtype=torch.long), torch.arange(500) % 9
    rows = board.random_starts(first, plies, torch.Generator().manual_seed(0))
    assert not bool(board.over[rows].any())
    moves = torch.tensor([9 - state.count(0) for state in (board.states[row] for row in rows)])  # type: ignore[attr-defined]
    assert bool((moves <= plies).all())
    assert bool((moves[plies < 5] == plies[plies < 5]).all()), "nobody can have won before the fifth move"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ppo_becomes_unbeatable(board: ListedGame, seed: int) -> None:
    began = time.process_time()
    network = network_of(board, seed=seed)
    for _ in train_ppo(board, network, GamePpoSettings(seed=seed)):
        pass
    assert time.process_time() - began < 2 * 300, "five minutes of two cores"
    assert exploitability(board.game, NetworkPlayer(board, network).policy, likeliest=True) == Exploitability(0.0, 0.0)


@pytest.mark.slow
def test_grpo_becomes_unbeatable(board: ListedGame) -> None:
    """By the defaults of `preflab game learn --by grpo`, with its curve: from 1 on both sides to 0."""
    learning = learn_by_network(board.game, by_ppo=False, num_games=245_760, discount=1.0, seed=0)
    curve = [exploitability(board.game, thoughts.policy, likeliest=True) for _, thoughts in snapshots(learning)]
    assert len(curve) == 11
    assert (curve[0], curve[-1]) == (Exploitability(1.0, 1.0), Exploitability(0.0, 0.0))
