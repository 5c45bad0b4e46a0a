"""Small language models of tic-tac-toe, made in seconds: one that speaks legal moves, and one of random weights."""

from __future__ import annotations

from pathlib import Path

from preflab.games.by_language import LanguageSettings, make_base
from preflab.games.game import load_game
from preflab.games.language_model import GameModelSize, make_game_model

SMALL = GameModelSize(num_layers=1, hidden_size=32, num_heads=2)


def make_speaker(folder: Path) -> Path:
    """A run whose base model has seen some random games; it plays mostly legal moves, badly."""
    return make_base("tic_tac_toe", LanguageSettings(num_random_games=2048, num_sft_steps=60, size=SMALL), folder)


def make_mute(folder: Path) -> Path:
    """A model of random weights, which does not end its turns."""
    return make_game_model(load_game("tic_tac_toe"), folder, 0, SMALL)
