"""The positions of a deterministic environment: each is made again by stepping through the actions that led to it."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from preflab.errors import PreflabError, cut

NUM_TRIALS = 5
"""Random games played to see whether an environment is deterministic."""
MOST_KEPT = 200_000
"""Ways whose outcomes are kept; when there are more, they are stepped through again."""

Way = tuple[int, ...]
"""A seed and the actions since the reset."""


class Seen(NamedTuple):
    """An environment's observation after a way."""

    observation: Any
    legal: tuple[int, ...]
    player: int
    total: float
    """Rewards of player 0 so far."""
    is_over: bool


class Stepper:
    """An environment that is reset and stepped; its libraries differ in how."""

    num_players: int

    def __init__(self, env: Any, action_space: Any, observation_space: Any) -> None:
        num = getattr(action_space, "n", None)
        if not isinstance(num, int | np.integer):
            raise PreflabError(
                f"{env}: actions of the space {action_space}",
                "a discrete space: a finite number of actions, which are the moves",
                "choose an environment with discrete actions, or wrap it so that it has some",
            )
        self.env = env
        first = int(getattr(action_space, "start", 0))
        self.moves = tuple(range(first, first + int(num)))
        self.has_one_number = isinstance(getattr(observation_space, "n", None), int | np.integer)
        spec = getattr(env, "spec", None)
        self.name = getattr(spec, "id", None) or getattr(env, "metadata", {}).get("name") or type(env).__name__

    def reset(self, seed: int) -> Seen:
        """Begin anew with a seed."""
        raise AssertionError("a stepper of a library")

    def step(self, action: int) -> Seen:
        """Act for the player whose turn it is."""
        raise AssertionError("a stepper of a library")

    def plain(self, observation: Any) -> Any:
        """The observation without its action mask."""
        return (
            observation["observation"]
            if isinstance(observation, dict) and "observation" in observation
            else observation
        )

    def mask_of(self, observation: Any, info: dict[str, Any]) -> tuple[int, ...]:
        """The legal actions: those of `action_mask` in the observation or in `info`, or all."""
        mask = observation.get("action_mask") if isinstance(observation, dict) else None
        mask = info.get("action_mask") if mask is None else mask
        return self.moves if mask is None else tuple(m for m, may in zip(self.moves, mask, strict=True) if may)

    def swap_random_numbers(self, seed: int) -> None:
        """Give the environment's generator `np_random`, if it has one, another seed: no step may depend on it."""
        inner = getattr(self.env, "unwrapped", self.env)
        if isinstance(getattr(inner, "np_random", None), np.random.Generator):
            inner.np_random = np.random.default_rng(seed)


class Replayed:
    """The functions of a game whose positions are ways through an environment, or what is seen there.

    Args:
        stepper: the environment.
        max_moves: every game ends after this many moves.
        merge: a position is what is seen.
    """

    def __init__(self, stepper: Stepper, max_moves: int, merge: bool) -> None:
        self.stepper, self.max_moves, self.merge = stepper, max_moves, merge
        self._kept: dict[Way, Seen] = {}
        self._ways: dict[tuple[Any, ...], Way] = {}
        self._compared: set[tuple[Any, ...]] = set()
        self._here: Way = ()

    def start(self, seed: int) -> tuple[Any, ...]:
        """The position after a reset with the seed."""
        return self._position((seed,))

    def legal_moves(self, state: Any) -> Sequence[int]:
        """The actions that the mask allows; none at the end."""
        return () if self.result(state) is not None else self.seen(state).legal

    def play(self, state: Any, move: Any) -> tuple[Any, ...]:
        """The position after an action."""
        return self._position((*self._way(state), move))

    def result(self, state: Any) -> float | None:
        """The rewards added up, when the environment has ended or `max_moves` were played."""
        seen = self.seen(state)
        return seen.total if seen.is_over or len(self._way(state)) > self.max_moves else None

    def show(self, state: Any) -> str:
        """The observation, the number of moves and the rewards so far."""
        seen = self.seen(state)
        moves = len(self._way(state)) - 1
        return f"{cut(str(self.stepper.plain(seen.observation)), 2_000)}\nmove {moves}, rewards {seen.total:g}"

    def features(self, state: Any) -> list[float]:
        """The numbers of the observation, without its mask."""
        numbers = np.asarray(self.stepper.plain(self.seen(state).observation), dtype=float).ravel()
        return [float(number) for number in numbers]

    def seen(self, state: Any) -> Seen:
        """The environment's observation in a position."""
        return self._after(self._way(state))

    def require_deterministic(self) -> None:
        """Play a few random games twice, the second time with other random numbers after the reset.

        Raises:
            PreflabError: an outcome differs.
        """
        rng = random.Random("deterministic")
        for seed in range(NUM_TRIALS):
            way: Way = (seed,)
            seen = self._after(way)
            while not seen.is_over and len(way) <= self.max_moves and seen.legal:
                way = (*way, rng.choice(seen.legal))
                seen = self._after(way)
            again = self.stepper.reset(seed)
            self._here = ()
            self._compare(way[:1], again)
            self.stepper.swap_random_numbers(1_000 + seed)
            for num, action in enumerate(way[1:], 2):
                self._compare(way[:num], self.stepper.step(action))

    def _way(self, state: Any) -> Way:
        return self._ways[state] if self.merge else state

    def _position(self, way: Way) -> tuple[Any, ...]:
        seen = self._after(way)
        if not self.merge:
            return way
        key = (hashable(self.stepper.plain(seen.observation)), len(way), seen.player, seen.total, seen.is_over)
        first = self._ways.setdefault(key, way)
        if first != way and key not in self._compared:
            self._compared.add(key)
            self._require_alike(first, way)
        return key

    def _require_alike(self, first: Way, other: Way) -> None:
        """Two ways to one observation must allow the same actions, and these must lead to equal observations."""
        ends = self._after(first).is_over or len(first) > self.max_moves
        differs = self._after(first).legal != self._after(other).legal or any(
            not same(self._after((*first, move)), self._after((*other, move)))
            for move in (() if ends else self._after(first).legal)
        )
        if differs:
            raise PreflabError(
                f"{self.stepper.name}: actions {first[1:]} and {other[1:]} lead to one observation, but from there "
                "equal actions lead to different ones",
                "with merge=True an observation holds all that matters",
                "pass merge=False: positions are then the actions since the reset",
            )

    def _after(self, way: Way) -> Seen:
        """The observation after a way; stepped through unless it is known."""
        if way in self._kept:
            return self._kept[way]
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        if self._here and way[:-1] == self._here:
            seen = self.stepper.step(way[-1])
        else:
            seen = self.stepper.reset(way[0])
            self._compare(way[:1], seen)
            for num, action in enumerate(way[1:], 2):
                seen = self.stepper.step(action)
                self._compare(way[:num], seen)
        self._here = () if seen.is_over else way
        self._kept[way] = seen
        return seen

    def _compare(self, way: Way, seen: Seen) -> None:
        before = self._kept.get(way)
        if before is not None and not same(before, seen):
            raise PreflabError(
                f"{self.stepper.name}: actions {way[1:]} after reset(seed={way[0]}) led to {_brief(before)} and "
                f"to {_brief(seen)}",
                "a deterministic environment: equal seeds and actions have equal outcomes, and steps draw nothing",
                "turn the randomness off, such as by is_slippery=False, or choose another environment",
            )


def same(one: Seen, other: Seen) -> bool:
    """True if two outcomes are equal."""
    return one[1:] == other[1:] and hashable(one.observation) == hashable(other.observation)


def hashable(value: Any) -> Hashable:
    """An observation as numbers and tuples, which are compared by ==."""
    if isinstance(value, dict):
        return tuple((name, hashable(value[name])) for name in sorted(value))
    if isinstance(value, np.ndarray | np.generic):
        return hashable(value.tolist())
    return tuple(hashable(one) for one in value) if isinstance(value, list | tuple) else value


def _brief(seen: Seen) -> str:
    return f"observation {cut(str(seen.observation), 100)} and rewards {seen.total:g}"
