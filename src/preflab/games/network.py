"""A small network that reads a position and gives a probability to every move, and a value to the position."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from preflab.games.game import Move, State, playable_moves
from preflab.games.listed_game import ListedGame


class MoveStatistics(NamedTuple):
    """Outputs of the network for B positions."""

    logps: Tensor
    """(B, M) log-probability of each move; −inf where it is not legal."""
    values: Tensor
    """(B,) expected result for the player whose turn it is."""

    def entropy(self) -> Tensor:
        """(B,) −Σ_a π(a) log π(a) over the legal moves, nats."""
        return -(self.logps.exp() * self.logps.masked_fill(self.logps == -torch.inf, 0.0)).sum(-1)


class Network(nn.Module):
    """Two hidden layers, shared by the policy's head and the value's."""

    def __init__(self, num_features: int, num_moves: int, *, width: int = 128, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Sequential(nn.Linear(num_features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            self.policy, self.value = nn.Linear(width, num_moves), nn.Linear(width, 1)
        for head in (self.policy, self.value):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, features: Tensor, legal: Tensor) -> MoveStatistics:
        """Statistics of positions (B, F) with the legal moves (B, M)."""
        states = self.trunk(features)
        logits = self.policy(states).masked_fill(~legal, -torch.inf)
        return MoveStatistics(logits.log_softmax(-1), self.value(states)[:, 0])


def network_of(listed: ListedGame, *, width: int = 128, seed: int = 0) -> Network:
    """A new network for a game: every legal move is equally likely, every value 0."""
    return Network(listed.features.shape[1], listed.legal.shape[1], width=width, seed=seed)


class NetworkPlayer:
    """A network as a player: its probabilities and values in every position, computed at once."""

    def __init__(self, listed: ListedGame, network: Network) -> None:
        self.listed = listed
        rows = (~listed.over).nonzero()[:, 0]
        with torch.no_grad():
            outputs = network(listed.features[rows], listed.legal[rows])
        self.probs = torch.zeros(listed.legal.shape)
        self.probs[rows] = outputs.logps.exp()
        self.values = torch.zeros(len(listed.states))
        self.values[rows] = outputs.values

    def policy(self, state: State) -> dict[Move, float]:
        """The probability of each legal move."""
        row = self.listed.index[state]
        legal, probs = self.listed.legal[row].tolist(), self.probs[row].tolist()
        return {move: prob for move, prob, may in zip(self.listed.game.moves, probs, legal, strict=True) if may}

    def value(self, state: State) -> float:
        """The result that the network expects for the player whose turn it is."""
        return float(self.values[self.listed.index[state]])

    def move_values(self, state: State, discount: float = 1.0) -> dict[Move, float]:
        """One step ahead: the result of a move that ends the game, else the discounted value of the next position."""
        game = self.listed.game
        mover = game.player(state)

        def after_move(after: State) -> float:
            if game.is_over(after):
                return game.result_of(mover, after)
            return discount * (self.value(after) if game.player(after) == mover else -self.value(after))

        return {move: after_move(game.play(state, move)) for move in playable_moves(game, state)}
