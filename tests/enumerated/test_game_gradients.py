"""Gradients of self-play on a game of three moves, where all eight games can be listed."""

from __future__ import annotations

import itertools
import types

import pytest
import torch
from torch import Tensor

from preflab.games.game import Game, game_of
from preflab.games.grpo import GameGrpoSettings
from preflab.games.grpo import minibatch_loss as grpo_loss
from preflab.games.grpo import signed_advantages as grpo_advantages
from preflab.games.listed_game import ListedGame
from preflab.games.network import Network
from preflab.games.played_games import PlayedGames, play_games
from preflab.games.ppo import GamePpoSettings, minibatch_loss, signed_advantages

LINES = ["".join(moves) for moves in itertools.product("lr", repeat=3)]
RESULTS = dict(zip(LINES, (3.0, -1.0, 0.5, 2.0, -2.0, 1.0, 0.0, 4.0), strict=True))
PLAYERS = "010"
"""Player 0 moves first and last."""


def three_moves() -> Game:
    module = types.ModuleType("three")
    vars(module).update(
        MOVES=("l", "r"),
        NUM_PLAYERS=2,
        start=lambda seed: "",
        legal_moves=lambda state: [] if len(state) == 3 else ["l", "r"],
        play=lambda state, move: state + move,
        result=RESULTS.get,
        show=str,
        player=lambda state: int(PLAYERS[len(state)]) if len(state) < 3 else 0,
        features=lambda state: (
            [float(len(state) == n) for n in range(4)] + [float(state[n : n + 1] == "r") for n in range(3)]
        ),
    )
    return game_of(module, "three")


@pytest.fixture
def listed() -> ListedGame:
    return ListedGame.of(three_moves())


@pytest.fixture
def network() -> Network:
    made = Network(7, 2, width=5, seed=1)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def every_game(listed: ListedGame, network: Network) -> tuple[PlayedGames, Tensor]:
    """All eight games as played games, and the probability of each."""
    texts = list(RESULTS)
    rows = torch.tensor([[listed.index[text[:n]] for n in range(3)] for text in texts])
    moves = torch.tensor([["lr".index(letter) for letter in text] for text in texts])
    sign = torch.tensor([[1.0, -1.0, 1.0]]).expand(8, 3)
    empty = torch.zeros(8, 3)
    games = PlayedGames(rows, moves, empty == 0, sign, empty, empty, torch.tensor([RESULTS[text] for text in texts]))
    with torch.no_grad():
        logps, values, _ = games.ask(listed, network)
    games = PlayedGames(rows, moves, games.mask, sign, logps, values, games.results)
    return games, logps.sum(1).exp()


def enumerated_gradient(listed: ListedGame, network: Network, games: PlayedGames) -> list[Tensor]:
    """−∇ of each player's own expected result: the other's probabilities are constants for it."""
    logps, _, _ = games.ask(listed, network)
    own = torch.where(games.sign > 0, logps, logps.detach())
    others = torch.where(games.sign < 0, logps, logps.detach())
    objective = (own.sum(1).exp() * games.results).sum() - (others.sum(1).exp() * games.results).sum()
    return [-one for one in torch.autograd.grad(objective, list(network.policy.parameters()))]


def test_policy_gradient_equals_the_enumerated_one(listed: ListedGame, network: Network) -> None:
    """λ = 1, no whitening: Σ_games p · the loss's gradient is the exact one, whatever the values are."""
    games, probs = every_game(listed, network)
    settings = GamePpoSettings(lam=1.0, value_coef=0.0)
    from preflab.maths.advantages import gae, scores_at_last_token

    raw, _ = gae(
        scores_at_last_token(games.results, games.mask), games.sign * games.values, games.mask, gamma=1.0, lam=1.0
    )
    weighted = probs[:, None] * games.sign * raw
    loss, _ = minibatch_loss(listed, network, games, weighted, torch.zeros(8, 3), settings, 0.0)
    found = torch.autograd.grad(loss * games.mask.sum(), list(network.policy.parameters()))
    for ours, exact in zip(found, enumerated_gradient(listed, network, games), strict=True):
        assert torch.allclose(ours, exact, atol=1e-6, rtol=0)
        assert exact.abs().max() > 0.01


def test_leave_nothing_out_group_gradient_has_the_enumerated_direction(listed: ListedGame, network: Network) -> None:
    """GRPO's advantages before division differ from the results by a constant per group, which changes no gradient."""
    games, probs = every_game(listed, network)
    centred = games.results - (probs * games.results).sum()
    loss, _ = grpo_loss(listed, network, games, probs[:, None] * games.sign * centred[:, None], GameGrpoSettings(), 0.0)
    found = torch.autograd.grad(loss * games.mask.sum(), list(network.policy.parameters()))
    for ours, exact in zip(found, enumerated_gradient(listed, network, games), strict=True):
        assert torch.allclose(ours, exact, atol=1e-6, rtol=0)


def test_signed_advantages_by_hand(listed: ListedGame) -> None:
    """One game lrl with result 0.5, values 1, 2, −1 for the mover, λ = ½. In player 0's view: 1, −2, −1.

    δ_3 = 0.5 + 1 = 1.5;  δ_2 = −1 + 2 = 1;  δ_1 = −2 − 1 = −3
    A_3 = 1.5;  A_2 = 1 + 0.75 = 1.75;  A_1 = −3 + 0.875 = −2.125; for the mover: −2.125, −1.75, 1.5
    Returns for the mover: A + V = −1.125, 0.25, 0.5.
    """
    ones = torch.ones(1, 3)
    games = PlayedGames(
        torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long), ones > 0,
        torch.tensor([[1.0, -1.0, 1.0]]), 0 * ones, torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([0.5]),
    )  # fmt: skip
    whitened, returns = signed_advantages(games, games.results, GamePpoSettings(lam=0.5))
    raw = torch.tensor([-2.125, -1.75, 1.5])
    assert torch.allclose(returns, torch.tensor([[-1.125, 0.25, 0.5]]))
    assert torch.allclose(whitened[0], (raw - raw.mean()) / raw.std(correction=0), atol=1e-5)


def test_group_advantages_by_hand() -> None:
    """Results 1, −1, 0, 0: standard deviation √(2/3); a move of player 1 gets the negative."""
    sign = torch.tensor([[1.0, -1.0]]).expand(4, 2)
    zeros = torch.zeros(4, 2)
    games = PlayedGames(zeros, zeros, sign != 0, sign, zeros, zeros, torch.zeros(4))
    gained = grpo_advantages(games, torch.tensor([[1.0, -1.0, 0.0, 0.0]]))
    scale = (3 / 2) ** 0.5
    assert torch.allclose(gained, scale * torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]), atol=2e-4)


def test_played_games_record_what_was_played(listed: ListedGame, network: Network) -> None:
    games = play_games(listed, network, torch.zeros(64, dtype=torch.long), torch.Generator().manual_seed(0))
    logps, values, _ = games.ask(listed, network)
    assert torch.allclose(games.logps, logps, atol=1e-6)
    assert torch.allclose(games.values, values, atol=1e-6)
    for row in range(64):
        text = "".join("lr"[move] for move in games.moves[row])
        assert listed.states[games.rows[row, 2]] == text[:2]
        assert games.results[row] == RESULTS[text]
