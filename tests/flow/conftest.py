"""The toy stages, and a folder with a recipe of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import toy_stages
from toy_stages import Writer


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kinds grow, write, ask and read beside the real ones."""
    from preflab import stages
    from preflab.settings import recipe

    toy_stages.register(monkeypatch.setitem, sys.modules, recipe.STAGE_SETTINGS, stages.MODULES)


@pytest.fixture
def write_recipe(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Writes recipe.yaml (the line `recipe: 1` is added) into an empty current folder and gives its path."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text("recipe: 1\n" + text, encoding="utf-8")
        return path

    return write
