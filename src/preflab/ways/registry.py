"""All ways of judging by name, collected from the modules of this folder that define `WAY`."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from preflab import ways
from preflab.errors import PreflabError, nearest
from preflab.ways.base import Answer, Way


def _collect_ways() -> dict[str, Way[Any]]:
    names = [info.name for info in pkgutil.iter_modules(ways.__path__) if info.name != "registry"]
    modules = [import_module(f"{ways.__name__}.{name}") for name in names]
    in_order = sorted((m.WAY for m in modules if hasattr(m, "WAY")), key=lambda way: (way.place, way.name))
    return {way.name: way for way in in_order}


WAYS: Mapping[str, Way[Any]] = _collect_ways()
"""Name → way, in the order in which they are listed."""
NAMES = tuple(WAYS)
USUAL = NAMES[0]
"""The default way of judging."""
STORED: Mapping[str, type[Answer]] = {name: way.answer for name, way in WAYS.items() if way.stored_as == name}
"""The field `way` of a stored answer → the class of the answer."""

BY_PAIRS = tuple(name for name, way in WAYS.items() if way.asked_of_ai == "pairs")
"""The ways in which an AI judge compares pairs."""
BY_POINTS = tuple(name for name, way in WAYS.items() if way.asked_of_ai == "points")
"""The ways in which an AI judge gives scores."""

if TYPE_CHECKING:
    WayName = str
    AiWayName = str
else:
    WayName = Literal[NAMES]
    AiWayName = Literal[(*BY_PAIRS, *BY_POINTS)]
"""Types of names of ways of judging, by which settings are checked."""


def way_named(name: str) -> Way[Any]:
    """The way of judging with this name.

    Raises:
        PreflabError: there is none.
    """
    if name not in WAYS:
        near = nearest(name, list(NAMES))
        raise PreflabError(f"the way of judging {name!r}", f"near it: {near}" if near else names_in_words())
    return WAYS[name]


def names_in_words(word: str = "or") -> str:
    """The names of all ways as a text: `ranking, side_by_side or thumbs`."""
    return in_words(NAMES, word)


def in_words(names: tuple[str, ...], word: str = "or") -> str:
    """Names joined into a text: `a, b or c`."""
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
