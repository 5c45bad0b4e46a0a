"""Spaces of actions and observations: Gymnasium's own where it is installed, else small objects of the same shape."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np


class Choice:
    """The numbers 0 to n − 1."""

    shape = ()
    dtype = np.dtype(np.int64)

    def __init__(self, n: int) -> None:
        self.n = n
        self.seed(0)

    def seed(self, seed: int | None = None) -> None:
        """Start the samples anew."""
        self._rng = np.random.default_rng(seed)

    def sample(self, mask: np.ndarray[Any, Any] | None = None) -> int:
        """A number of the space; with a mask one whose entry is not 0."""
        allowed = np.arange(self.n) if mask is None else np.flatnonzero(mask)
        return int(self._rng.choice(allowed))

    def contains(self, value: Any) -> bool:
        """True for an integer of the space."""
        return isinstance(value, int | np.integer) and 0 <= int(value) < self.n

    __contains__ = contains


class Vectors:
    """Vectors whose entries lie between two vectors."""

    def __init__(self, low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> None:
        self.low, self.high = low, high
        self.shape, self.dtype = low.shape, low.dtype
        self.seed(0)

    def seed(self, seed: int | None = None) -> None:
        """Start the samples anew."""
        self._rng = np.random.default_rng(seed)

    def sample(self) -> np.ndarray[Any, Any]:
        """A vector drawn evenly; whole numbers if the space holds integers."""
        if self.dtype.kind == "i":
            return self._rng.integers(self.low, self.high, endpoint=True).astype(self.dtype)
        return self._rng.uniform(self.low, self.high).astype(self.dtype)

    def contains(self, value: Any) -> bool:
        """True for an array of this shape whose entries lie within the bounds."""
        fits = isinstance(value, np.ndarray) and value.shape == self.shape
        return fits and bool(np.all(value >= self.low) and np.all(value <= self.high))

    __contains__ = contains


class Together:
    """A dictionary of spaces."""

    shape = None
    dtype = None

    def __init__(self, spaces: Mapping[str, Any]) -> None:
        self.spaces = dict(spaces)

    def __getitem__(self, name: str) -> Any:
        return self.spaces[name]

    def seed(self, seed: int | None = None) -> None:
        """Start the samples anew."""
        for space in self.spaces.values():
            space.seed(seed)

    def sample(self) -> dict[str, Any]:
        """One sample of each space."""
        return {name: space.sample() for name, space in self.spaces.items()}

    def contains(self, value: Any) -> bool:
        """True for a dictionary with one member of each space."""
        return (
            isinstance(value, dict)
            and value.keys() == self.spaces.keys()
            and all(space.contains(value[name]) for name, space in self.spaces.items())
        )

    __contains__ = contains


def choice_space(n: int) -> Any:
    """The space of the numbers 0 to n − 1: `gymnasium.spaces.Discrete`, or a `Choice`."""
    spaces = _gymnasium_spaces()
    return spaces.Discrete(n) if spaces else Choice(n)


def vector_space(low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> Any:
    """The space of vectors between two vectors: `gymnasium.spaces.Box`, or `Vectors`."""
    spaces = _gymnasium_spaces()
    return spaces.Box(low, high, dtype=low.dtype.type) if spaces else Vectors(low, high)


def dict_space(parts: Mapping[str, Any]) -> Any:
    """A dictionary of spaces: `gymnasium.spaces.Dict`, or `Together`."""
    spaces = _gymnasium_spaces()
    return spaces.Dict(dict(parts)) if spaces else Together(parts)


def with_base(cls: type, library: str, base: str) -> type:
    """The class with a class of a library as a further base, as its checks demand; without the library the class."""
    if importlib.util.find_spec(library) is None:
        return cls
    return type(cls.__name__, (cls, getattr(importlib.import_module(library), base)), {"__doc__": cls.__doc__})


def _gymnasium_spaces() -> Any:
    return importlib.import_module("gymnasium.spaces") if importlib.util.find_spec("gymnasium") else None
