"""docs/learn/game-as-language.md: its recipe has the settings of the command, its model the size that it states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflab.games.by_language import PPO, LanguageSettings
from preflab.games.dialogue import GameEnvironment
from preflab.games.game import load_game
from preflab.games.language_model import build_game_model
from preflab.settings.ppo import PpoSettings

NOT_OF_A_RECIPE = {"model", "prompts", "held_out_prompts", "run"}
"""Settings that name what the command makes itself."""


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "learn" / "game-as-language.md").read_text(encoding="utf-8")


def test_recipe_has_the_settings_of_the_command(page: str) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    stage: dict[str, Any] = yaml.safe_load(block)["stages"]["ppo"]
    settings, command = PpoSettings.model_validate(stage), LanguageSettings()
    expected = PpoSettings.model_validate({**PPO, "environment": stage["environment"]})
    for name in set(PPO) - NOT_OF_A_RECIPE:
        assert getattr(settings, name) == getattr(expected, name), name
    assert settings.num_steps == command.num_steps
    assert (GameEnvironment.game, GameEnvironment.opponent) == ("tic_tac_toe", command.opponent)
    assert list(GameEnvironment.plies) == list(range(command.most_plies + 1))


def test_model_has_245_thousand_parameters(page: str) -> None:
    """25 words and marks, width 96: 2 · 25 · 96 + 2 · (4 · 96² + 3 · 96 · 288 + 2 · 96) + 96 = 244,896."""
    model, _ = build_game_model(load_game("tic_tac_toe"), 0)
    assert sum(one.numel() for one in model.parameters()) == 244_896
    assert "a Llama of two layers, 245 thousand parameters" in page
