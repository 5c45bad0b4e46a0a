"""Measures a policy in an environment on fresh episodes: reward and columns with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preflab.environments.episodes import EnvironmentEpisodes
from preflab.records import Prompt
from preflab.seeds import derive_seed
from preflab.statistics.interval import Interval
from preflab.statistics.means import mean_interval
from preflab.statistics.shares import share_interval
from preflab.training.protocols import Episode


@dataclass(frozen=True)
class Measured:
    """The figures of a policy, and its episodes."""

    figures: dict[str, Interval]
    """`reward` (the sum over an episode's turns) and each column, as means over episodes."""
    episodes: list[Episode]


def measure(episodes: EnvironmentEpisodes, prompts: Sequence[Prompt], num: int, seed: int = 0) -> Measured:
    """Play `num` episodes, the prompts in turn, and average over them.

    Starts and turns have their own seeds, which no training step uses. Policies that are measured with one seed get the
    same starts. Columns of zeros and ones have Wilson's interval.
    """
    asked = [prompts[number % len(prompts)] for number in range(num)]
    seeds = [derive_seed(seed, "measured turns", number) for number in range(num)]
    starts = [derive_seed(seed, "measured start", number) for number in range(num)]
    played = episodes.play(asked, seeds, starts)
    values = {"reward": [sum(one.rewards or ()) for one in played]}
    values |= {name: [one.columns[name] for one in played] for name in played[0].columns}
    return Measured({name: _interval(row) for name, row in values.items()}, played)


def _interval(values: Sequence[float]) -> Interval:
    return share_interval(values) if set(values) <= {0.0, 1.0} else mean_interval(values)
