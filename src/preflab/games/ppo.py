"""PPO on a game, by self-play: the steps of policy/ppo.py with boards in place of texts, and the same losses.

    1 collect      games of the current network against itself, from positions after a few random moves
    2 score        the result of every game
    3 advantages   generalised advantage estimation, whitening
    4 update       several passes of clipped updates over the same games
    5 log          metrics

Both players are the same network, so values and rewards change sign from one player to the other. They are turned to
the view of player 0, where GAE applies as it is, and the advantages are turned back: with one sign per move, σ = 1 for
player 0 and −1 for player 1, A_t = σ_t · GAE(rewards of player 0, σ · values)_t.
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
from preflab.maths.advantages import gae, scores_at_last_token, whiten
from preflab.maths.losses import clipped_policy_loss, clipped_value_loss
from preflab.maths.masks import masked_mean
from preflab.seeds import derive_seed
from preflab.training.state import RunState

SAVE_EVERY = 50


@dataclass(frozen=True)
class GamePpoSettings:
    """Settings of PPO on a game."""

    num_steps: int = 480
    num_games_per_step: int = 512
    num_epochs: int = 3
    num_minibatches: int = 4
    random_plies: int = 6
    """A game starts after 0 to this many random moves, so that positions off the usual path are learned too."""
    gamma: float = 1.0
    lam: float = 0.9
    clip: float = 0.2
    value_coef: float = 0.5
    entropy_coef: tuple[float, float] = (0.05, 0.002)
    """At the first and at the last step, geometrically between."""
    learning_rate: tuple[float, float] = (1e-3, 1e-4)
    """At the first and at the last step, geometrically between."""
    max_grad_norm: float = 1.0
    seed: int = 0


def train_ppo(
    listed: ListedGame, network: Network, settings: GamePpoSettings, folder: Path | None = None
) -> Iterator[dict[str, float]]:
    """Train the network in place; yields the metrics of every step.

    Args:
        listed: the game.
        network: the player; both sides are played by it.
        settings: the settings.
        folder: where a checkpoint is written after every 50th step and the last; training resumes from it. None: none.

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
        scores = games.results
        # 3 advantages
        advantages, returns = signed_advantages(games, scores, settings)
        # 4 update
        for group in optimiser.param_groups:
            group["lr"] = between(settings.learning_rate, done)
        entropy_coef = between(settings.entropy_coef, done)
        metrics = update(listed, network, optimiser, games, advantages, returns, settings, entropy_coef, generator)
        # 5 log
        state.step += 1
        if folder is not None and (state.step % SAVE_EVERY == 0 or state.step == settings.num_steps):
            state.save(folder)
        yield {"step": step, "reward/mean": float(scores.mean()), "length/mean": games.mean_length, **metrics}


def collect(listed: ListedGame, network: Network, settings: GamePpoSettings, generator: torch.Generator) -> PlayedGames:
    """Step 1: games from positions after 0 to `random_plies` random moves."""
    num = settings.num_games_per_step
    first = torch.zeros(num, dtype=torch.long)
    plies = torch.randint(settings.random_plies + 1, (num,), generator=generator)
    return play_games(listed, network, listed.random_starts(first, plies, generator), generator)


def signed_advantages(games: PlayedGames, scores: Tensor, settings: GamePpoSettings) -> tuple[Tensor, Tensor]:
    """Step 3: (B, T) whitened advantages and returns, each for the player who moved."""
    rewards = scores_at_last_token(scores, games.mask)
    raw, returns = gae(rewards, games.sign * games.values, games.mask, gamma=settings.gamma, lam=settings.lam)
    return whiten(games.sign * raw, games.mask), games.sign * returns


def update(
    listed: ListedGame,
    network: Network,
    optimiser: torch.optim.Optimizer,
    games: PlayedGames,
    advantages: Tensor,
    returns: Tensor,
    settings: GamePpoSettings,
    entropy_coef: float,
    generator: torch.Generator,
) -> dict[str, float]:
    """Step 4: num_epochs passes of num_minibatches optimiser steps; returns the means of their metrics."""
    sums: dict[str, float] = {}
    for _ in range(settings.num_epochs):
        for rows in torch.randperm(len(games.results), generator=generator).chunk(settings.num_minibatches):
            loss, metrics = minibatch_loss(
                listed, network, games.take(rows), advantages[rows], returns[rows], settings, entropy_coef
            )
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
    returns: Tensor,
    settings: GamePpoSettings,
    entropy_coef: float,
) -> tuple[Tensor, dict[str, float]]:
    """policy + value_coef · value − entropy_coef · entropy, each a mean over the moves of these games."""
    logps, values, entropy = games.ask(listed, network)
    policy = clipped_policy_loss(
        logps, games.logps, advantages, games.mask, clip_low=settings.clip, clip_high=settings.clip
    )
    value = clipped_value_loss(values, games.values, returns, games.mask, clip=None)
    mean_entropy = masked_mean(entropy, games.mask)
    loss = policy.loss + settings.value_coef * value.loss - entropy_coef * mean_entropy
    return loss, {
        "loss/policy": policy.loss.item(),
        "loss/value": value.loss.item(),
        "entropy/mean": mean_entropy.item(),
        "clip/policy": policy.clip_fraction.item(),
        "ratio/approx_kl": policy.approx_kl.item(),
    }


def between(ends: tuple[float, float], share: float) -> float:
    """The number at `share` of the way from the first to the second, in equal factors."""
    return float(ends[0] * (ends[1] / ends[0]) ** share)
