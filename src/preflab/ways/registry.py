"""All ways of judging by name: every module of this folder that defines `WAY`. The one place to ask for one."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from preflab import ways
from preflab.errors import PreflabError, nearest
from preflab.ways.base import Answer, Way


def _found() -> dict[str, Way[Any]]:
    names = [info.name for info in pkgutil.iter_modules(ways.__path__) if info.name != "registry"]
    modules = [import_module(f"{ways.__name__}.{name}") for name in names]
    found = sorted((module.WAY for module in modules if hasattr(module, "WAY")), key=lambda way: (way.place, way.name))
    return {way.name: way for way in found}


WAYS: Mapping[str, Way[Any]] = _found()
"""Name → way, in the order in which they are listed."""
NAMES = tuple(WAYS)
USUAL = NAMES[0]
"""The way of judging where none is named."""
STORED: Mapping[str, type[Answer]] = {name: way.answer for name, way in WAYS.items() if way.stored_as == name}
"""The `way` of a stored answer → what it becomes."""

BY_PAIRS = tuple(name for name, way in WAYS.items() if way.asked_of_ai == "pairs")
BY_POINTS = tuple(name for name, way in WAYS.items() if way.asked_of_ai == "points")
"""The ways in which an AI judge can be asked."""

if TYPE_CHECKING:
    WayName = str
    AiWayName = str
else:
    WayName = Literal[NAMES]
    AiWayName = Literal[(*BY_PAIRS, *BY_POINTS)]
"""Names of ways of judging, as settings check them."""


def way_named(name: str) -> Way[Any]:
    """The way of judging of this name.

    Raises:
        PreflabError: there is none.
    """
    if name not in WAYS:
        near = nearest(name, list(NAMES))
        raise PreflabError(f"the way of judging {name!r}", f"near it: {near}" if near else names_in_words())
    return WAYS[name]


def names_in_words(word: str = "or") -> str:
    """`ranking, side_by_side or thumbs`."""
    return in_words(NAMES, word)


def in_words(names: tuple[str, ...], word: str = "or") -> str:
    """`a, b or c`."""
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
