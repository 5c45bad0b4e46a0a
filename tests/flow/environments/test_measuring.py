"""Measuring a policy on fresh episodes: figures, intervals, and starts that do not depend on the policy."""

from __future__ import annotations

import pytest

from preflab.environments.measuring import measure
from preflab.environments.protocol import Reply
from preflab.records import Prompt
from preflab.statistics.shares import wilson
from talking_world import Echo, talking_episodes, talking_trunk

PROMPTS = [Prompt.make(text="one"), Prompt.make(text="two")]


class Coin(Echo):
    """Won or lost by the seed alone, whatever the policy writes."""

    def step(self, completion: str) -> Reply:
        return Reply(end=True, reward=float(self.seed % 2), columns={"won": float(self.seed % 2)})


def test_rewards_of_the_turns_are_added() -> None:
    measured = measure(talking_episodes(talking_trunk()), PROMPTS, 4)
    assert measured.figures["reward"].value == 6.0, "1 + 2 + 3"
    assert measured.figures["num_turns"].value == 3.0
    assert len(measured.episodes) == 4


def test_shares_have_wilsons_interval_and_starts_are_those_of_the_seed() -> None:
    num = 12
    first = measure(talking_episodes(talking_trunk(), Coin), PROMPTS, num)
    won = first.figures["won"]
    assert 0 < won.value < 1
    assert (won.low, won.high) == pytest.approx([float(end) for end in wilson(won.value, num)])
    other = talking_trunk()
    with_other_weights = measure(talking_episodes(other, Coin), PROMPTS, num)
    assert [one.columns for one in with_other_weights.episodes] == [one.columns for one in first.episodes]
    assert [one.prompt.messages for one in measure(talking_episodes(other, Coin), PROMPTS, num, seed=1).episodes] != [
        one.prompt.messages for one in first.episodes
    ]
