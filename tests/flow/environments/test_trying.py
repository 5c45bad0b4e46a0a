"""`environment check`: what it finds in environments that keep the contract, and in those that do not."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from preflab.cli import run_command
from preflab.environments.customer import SimulatedCustomer
from preflab.environments.loading import EnvironmentSource
from preflab.environments.protocol import Reply
from preflab.environments.trying import notes_on, try_environment
from preflab.errors import PreflabError
from preflab.records import Prompt

GUESSING = "preflab.environments.guessing:GuessingGame"


class Base:
    """One turn, reward 1 for `yes`."""

    @staticmethod
    def prompts() -> list[str]:
        return ["say yes"]

    def reset(self, prompt: Prompt, seed: int) -> str | None:
        return None

    def step(self, completion: str) -> Reply:
        return Reply("so", reward=float(completion == "yes"), end=True)


class OwnDice(Base):
    """Draws from another source than its seed."""

    dice = itertools.count()

    def step(self, completion: str) -> Reply:
        return Reply("so", reward=float(next(self.dice)), end=True)


class Endless(Base):
    def step(self, completion: str) -> Reply:
        return Reply("more", reward=0.0)


class Fails(Base):
    def step(self, completion: str) -> Reply:
        raise ValueError("no such word")


def tried(environment: Any, **options: Any) -> Any:
    return try_environment(EnvironmentSource("here:One", environment), **options)


def test_a_good_environment_is_played_with_words_it_has_used() -> None:
    trials = tried(Base, num_episodes=50)
    assert len(trials) == 50
    assert {word for trial in trials for said, _ in trial.turns for word in said.split()} == {"say", "yes", "so"}
    assert notes_on(trials) == []
    again = tried(Base, num_episodes=50)
    assert again == trials


def test_randomness_beside_the_seed_is_found() -> None:
    with pytest.raises(PreflabError, match="same prompt, seed and turns differ") as error:
        tried(OwnDice)
    assert "random.Random(seed)" in error.value.do


def test_a_fault_names_the_episode_and_the_turn() -> None:
    with pytest.raises(PreflabError, match="episode 0, turn 1: step raised ValueError: no such word"):
        tried(Fails)


def test_notes_name_cut_episodes_and_equal_rewards() -> None:
    cut, equal = notes_on(tried(Endless, num_episodes=3, max_turns=2))
    assert cut.startswith("3 episodes of 3 did not end")
    assert equal.startswith("all 3 episodes have the reward 0:")


def test_given_turns_are_drawn_from() -> None:
    trials = tried(SimulatedCustomer, says=["you can have red on monday."], num_episodes=100)
    assert all(len(trial.turns) == 1 for trial in trials)
    assert {trial.reward for trial in trials} == {0.0, 0.1, 1.0}


def test_the_command_shows_the_best_episode(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["environment", "check", GUESSING, "--say", "eight.", "--say", "ten.", "--max-turns", "4"]) == 0
    said = capsys.readouterr().out
    assert "keeps the contract in 100 episodes" in said
    assert "environment: guess my number from one to fifteen." in said
    assert "environment: yes." in said
    assert run_command(["environment", "check", GUESSING, "--episodes", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_episodes"] == 3
    with pytest.raises(SystemExit, match="2"):
        run_command(["environment", "check", "preflab.environments.guessing:Gessing"])
    assert "near it: GuessingGame" in capsys.readouterr().err


def test_the_seed_of_the_turns_is_its_own() -> None:
    random.seed(1)
    first = tried(Base, num_episodes=20)
    random.seed(2)
    assert tried(Base, num_episodes=20) == first
    assert tried(Base, num_episodes=20, seed=1) != first
