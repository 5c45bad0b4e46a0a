"""GRPO on a game, by self-play: the steps of policy/grpo.py with boards in place of texts, and the same losses.

A group is several games from one start. A game's advantage is its result relative to the group's, in standard
deviations; each of its moves gets it with the sign of the player who moved, σ = 1 for player 0 and −1 for player 1:

    A_{k,t} = σ_t (R_k − mean(R)) / std(R)

There is no value: the other games of the group are the baseline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from preflab.games.listed_game import ListedGame
from preflab.games.network import Network
from preflab.games.played_games import PlayedGames, play_games
from preflab.games.ppo import SAVE_EVERY, between
from preflab.maths.advantages import group_relative
from preflab.maths.losses import clipped_policy_loss
from preflab.maths.masks import masked_mean
from preflab.seeds import derive_seed
from preflab.training.state import RunState


@dataclass(frozen=True)
class GameGrpoSettings:
    """Settings of GRPO on a game."""

    num_steps: int = 480
    num_groups_per_step: int = 64
    num_games_per_group: int = 16
    num_epochs: int = 2
    num_minibatches: int = 4
    random_plies: int = 6
    """A group starts after 0 to this many random moves, so that positions off the usual path are learned too."""
    clip: float = 0.2
    entropy_coef: tuple[float, float] = (0.05, 0.002)
    """At the first and at the last step, geometrically between."""
    learning_rate: tuple[float, float] = (1e-3, 1e-4)
    """At the first and at the last step, geometrically between."""
    max_grad_norm: float = 1.0
    seed: int = 0


def train_grpo(
    listed: ListedGame, network: Network, settings: GameGrpoSettings, folder: Path | None = None
) -> Iterator[dict[str, float]]:
    """Train the network's policy in place; yields the metrics of every step. The arguments are those of `train_ppo`.

    Raises:
        PreflabError: a checkpoint is corrupted, or belongs to another network.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate[0])
    state = RunState(network, optimiser)
    if folder is not None:
        state.load(folder, num_steps=settings.num_steps)
    while state.step < settings.num_steps:
        step, done = state.step, state.step / max(1, settings.num_steps - 1)
        generator = torch.Generator().manual_seed(derive_seed(settings.seed, "games", step))
        # 1 collect
        games = collect(listed, network, settings, generator)
        # 2 score
        scores = games.results.view(-1, settings.num_games_per_group)
        # 3 advantages
        advantages = signed_advantages(games, scores)
        # 4 update
        for group in optimiser.param_groups:
            group["lr"] = between(settings.learning_rate, done)
        entropy_coef = between(settings.entropy_coef, done)
        metrics = update(listed, network, optimiser, games, advantages, settings, entropy_coef, generator)
        # 5 log
        state.step += 1
        if folder is not None and (state.step % SAVE_EVERY == 0 or state.step == settings.num_steps):
            state.save(folder)
        spread = float((scores.amax(1) > scores.amin(1)).float().mean())
        yield {
            "step": step, "reward/mean": float(scores.mean()), "length/mean": games.mean_length,
            "group/with_spread": spread, **metrics,
        }  # fmt: skip


def collect(
    listed: ListedGame, network: Network, settings: GameGrpoSettings, generator: torch.Generator
) -> PlayedGames:
    """Step 1: groups of games; those of a group are adjacent and start from one position."""
    num = settings.num_groups_per_step
    plies = torch.randint(settings.random_plies + 1, (num,), generator=generator)
    starts = listed.random_starts(torch.zeros(num, dtype=torch.long), plies, generator)
    return play_games(listed, network, starts.repeat_interleave(settings.num_games_per_group), generator)


def signed_advantages(games: PlayedGames, scores: Tensor) -> Tensor:
    """Step 3: (B, T) advantages for the player who moved; scores (P, K) are results for player 0."""
    per_game = group_relative(scores, divide_by_std=True).flatten()
    return games.sign * per_game[:, None]


def update(
    listed: ListedGame,
    network: Network,
    optimiser: torch.optim.Optimizer,
    games: PlayedGames,
    advantages: Tensor,
    settings: GameGrpoSettings,
    entropy_coef: float,
    generator: torch.Generator,
) -> dict[str, float]:
    """Step 4: num_epochs passes of num_minibatches optimiser steps; returns the means of their metrics."""
    sums: dict[str, float] = {}
    for _ in range(settings.num_epochs):
        for rows in torch.randperm(len(games.results), generator=generator).chunk(settings.num_minibatches):
            loss, metrics = minibatch_loss(listed, network, games.take(rows), advantages[rows], settings, entropy_coef)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.max_grad_norm)
            optimiser.step()
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + value
    num = settings.num_epochs * settings.num_minibatches
    return {name: value / num for name, value in sums.items()}


def minibatch_loss(
    listed: ListedGame,
    network: Network,
    games: PlayedGames,
    advantages: Tensor,
    settings: GameGrpoSettings,
    entropy_coef: float,
) -> tuple[Tensor, dict[str, float]]:
    """policy − entropy_coef · entropy, each a mean over the moves of these games."""
    logps, _, entropy = games.ask(listed, network)
    policy = clipped_policy_loss(
        logps, games.logps, advantages, games.mask, clip_low=settings.clip, clip_high=settings.clip
    )
    mean_entropy = masked_mean(entropy, games.mask)
    return policy.loss - entropy_coef * mean_entropy, {
        "loss/policy": policy.loss.item(),
        "entropy/mean": mean_entropy.item(),
        "clip/policy": policy.clip_fraction.item(),
        "ratio/approx_kl": policy.approx_kl.item(),
    }
