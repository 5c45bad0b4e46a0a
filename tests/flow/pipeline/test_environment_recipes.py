"""The recipes of the two environments that come with preflab: a policy at chance learns from an environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import run_command
from preflab.environments.guessing import chance

Play = Callable[[str], dict[str, Any]]


@pytest.fixture
def play(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Play:
    """Runs a recipe and returns the figures of `environment measure`: model → figure → value and interval."""

    def figures(name: str, *overrides: str) -> dict[str, Any]:
        script = repository / "recipes" / name / "data.py"
        subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
        places = [f"data.{file}.path={tmp_path / file}.jsonl" for file in ("corpus", "demonstrations")]
        sets = [word for each in (*places, *overrides) for word in ("--set", each)]
        recipe = str(repository / "recipes" / f"{name}.yaml")
        assert run_command(["run", recipe, *sets, "--workspace", str(tmp_path)]) == 0
        capsys.readouterr()
        measured = ["environment", "measure", "grpo", "--recipe", recipe, "--workspace", str(tmp_path), "--json"]
        assert run_command([*measured, *sets]) == 0
        measured_figures: dict[str, Any] = json.loads(capsys.readouterr().out)["figures"]
        return measured_figures

    return figures


@pytest.mark.slow
def test_the_guessing_game_is_learned_from_chance(play: Play) -> None:
    figures = play("guessing", "stages.grpo.num_steps=60")
    at_chance = chance(15, 4)
    before, after = figures["sft"]["won"], figures["grpo"]["won"]
    assert before["low"] < at_chance + 0.05
    assert before["high"] > at_chance - 0.05
    assert after["low"] > at_chance
    assert after["low"] > before["high"]
    assert figures["grpo"]["wasted"]["high"] < figures["sft"]["wasted"]["low"]


@pytest.mark.slow
def test_a_simulated_customer_is_served_better(play: Play) -> None:
    figures = play("customer")
    assert figures["grpo"]["reward"]["low"] > figures["sft"]["reward"]["high"]
    assert figures["grpo"]["rude"]["high"] < figures["sft"]["rude"]["low"]
