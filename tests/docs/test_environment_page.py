"""The page about environments: its example keeps the contract, and its exact figures are those of the game."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from preflab.environments.guessing import best, chance, consistent
from preflab.environments.loading import EnvironmentSource
from preflab.environments.trying import notes_on, try_environment
from preflab.words import percent


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "how-to" / "environment.md").read_text(encoding="utf-8")


def test_the_example_is_thirty_lines_and_keeps_the_contract(page: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) <= 30
    names: dict[str, Any] = {}
    exec(code, names)  # the page's own example
    trials = try_environment(EnvironmentSource("my_game:Guess", names["Guess"]), says=["3", " 7"], max_turns=3)
    assert notes_on(trials) == []
    assert {trial.reward for trial in trials} == {0.0, 1.0}
    assert all(len(trial.turns) <= 3 for trial in trials)


def test_exact_shares_of_the_guessing_game(page: str) -> None:
    for share in (chance(15, 4), consistent(15, 4), best(15, 4)):
        assert percent(share).replace("\N{NO-BREAK SPACE}", " ") in page
