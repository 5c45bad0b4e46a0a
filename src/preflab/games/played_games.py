"""Games that a network played against itself, as tensors: B games of up to T moves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from preflab.games.listed_game import ListedGame
from preflab.games.network import Network


@dataclass(frozen=True)
class PlayedGames:
    """Finished games; (B, T) tensors are 0 outside `mask`."""

    rows: Tensor
    """(B, T) the position before each move, as a row of the listed game."""
    moves: Tensor
    """(B, T) the move that was played, as a column."""
    mask: Tensor
    """(B, T) bool, True = a move was played."""
    sign: Tensor
    """(B, T) 1 where player 0 moved, −1 where player 1 did."""
    logps: Tensor
    """(B, T) log-probability of the move when it was played."""
    values: Tensor
    """(B, T) value of the position for the player who moved, before the update."""
    results: Tensor
    """(B,) result for player 0."""

    @property
    def mean_length(self) -> float:
        """Moves per game."""
        return float(self.mask.sum(1).float().mean())

    def take(self, rows: Tensor) -> PlayedGames:
        """Some of the games."""
        return PlayedGames(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def ask(self, listed: ListedGame, network: Network) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T) log-probabilities of the moves, values and entropies by the network of now; 0 outside the mask."""
        places = self.rows[self.mask]
        outputs = network(listed.features[places], listed.legal[places])
        chosen = outputs.logps.gather(1, self.moves[self.mask][:, None])[:, 0]
        filled = []
        for column in (chosen, outputs.values, outputs.entropy()):
            filled.append(torch.zeros(self.mask.shape).masked_scatter(self.mask, column))
        return filled[0], filled[1], filled[2]


def play_games(listed: ListedGame, network: Network, starts: Tensor, generator: torch.Generator) -> PlayedGames:
    """Play one game from each of the rows `starts` (B,); all moves are drawn from the network.

    Finished games stay where they are until the last one ends; their moves are masked.
    """
    rows = starts.clone()
    columns: list[tuple[Tensor, ...]] = []
    while bool((playing := ~listed.over[rows]).any()):
        legal = listed.legal[rows] | ~playing[:, None]  # a finished game has no legal move: any is drawn, none is used
        with torch.no_grad():
            outputs = network(listed.features[rows], legal)
        moves = torch.multinomial(outputs.logps.exp(), 1, generator=generator)[:, 0]
        logps = outputs.logps.gather(1, moves[:, None])[:, 0]
        columns.append((rows, moves, playing, listed.sign[rows], logps, outputs.values))
        rows = torch.where(playing, listed.after[rows, moves], rows)
    stacked = [torch.stack(column, dim=1) for column in zip(*columns, strict=True)]
    mask = stacked[2]
    places, moves, _, sign, logps, values = (torch.where(mask, one, torch.zeros_like(one)) for one in stacked)
    return PlayedGames(places, moves, mask, sign, logps, values, listed.result[rows])
