"""docs/how-to/first-game.md: its commands work to the letter in five minutes, its names and limits are the code's."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from pathlib import Path

import pytest

from preflab.cli import run_command
from preflab.explain.game_tables import MOST_POSITIONS
from preflab.games import game as contract
from preflab.games.environments import DEFAULT_LIMIT

LIBRARIES = ("gymnasium:", "pettingzoo:")


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "how-to" / "first-game.md").read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """The lines of its fenced blocks without a language."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


@pytest.mark.slow
def test_a_first_game_in_five_minutes(
    page: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command in its order, in a folder that holds nothing but the examples."""
    shutil.copytree(repository / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    for line in commands(page):
        program, *arguments = shlex.split(line)
        if program == "cp":
            shutil.copy(*arguments)
        elif not any(argument.startswith(LIBRARIES) for argument in arguments):
            assert program == ".venv/bin/preflab", line
            assert run_command(arguments) == 0, line
    assert time.monotonic() - began < 300
    assert (tmp_path / "play-my_game.html").stat().st_size < 5_000_000


def test_page_names_every_function_of_the_contract(page: str) -> None:
    assert contract.__doc__ is not None
    written = set(re.findall(r"^    (?:def )?(\w+)(?:\(| =)", contract.__doc__, re.MULTILINE))
    rows = {name.partition("(")[0] for name in re.findall(r"^\| `(\w+(?:\([\w, ]*\))?)` \|", page, re.MULTILINE)}
    assert {"MOVES", "start", "symmetries"} <= written
    assert rows == written


def test_page_names_the_limits(page: str) -> None:
    words = " ".join(page.split())
    assert f"at most {MOST_POSITIONS:,} positions" in words
    assert f"the environment's own limit, or {DEFAULT_LIMIT}." in words
