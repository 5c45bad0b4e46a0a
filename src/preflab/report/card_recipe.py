"""The resolved recipe as others may see it: the stages that count, without the machine's own paths and addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

PATH = re.compile(r"(/|~|\.\.?/)\S*|\S+/\S+/\S*")
"""A path: absolute, relative with a dot, or of several folders. `owner/name` is an id on the Hub."""
ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://\S+")


def shown_recipe(text: str, names: Sequence[str]) -> str:
    """The recipe's YAML with the stages of these names, and the stages, data and panels that they name.

    Paths are shown by their last part, addresses not at all.
    """
    recipe: dict[str, Any] = yaml.safe_load(text)
    stages = recipe.get("stages") or {}
    recipe["stages"] = {name: one for name, one in stages.items() if name in _with_named(stages, names)}
    words = set(_words(recipe["stages"]))
    for section in ("data", "labelers"):
        recipe[section] = {name: one for name, one in (recipe.get(section) or {}).items() if name in words}
    recipe.pop("workspace", None)
    return yaml.safe_dump(_shown(recipe), sort_keys=False, allow_unicode=True)


def _with_named(stages: dict[str, Any], names: Sequence[str]) -> set[str]:
    """The stages of these names, those that they name, those that these name, and so on."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in stages and name not in found:
            found.add(name)
            waiting += _words(stages[name])
    return found


def shown_name(text: str) -> str:
    """A path's last part; an address as what it is; any other text as it is."""
    if ADDRESS.fullmatch(text):
        return "(an address)"
    return text.rstrip("/").rpartition("/")[2] or text if PATH.fullmatch(text) else text


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return shown_name(value)
    if isinstance(value, list):
        return [_shown(each) for each in value]
    if isinstance(value, dict):
        return {_shown(name): _shown(each) for name, each in value.items()}
    return value


def _words(value: Any) -> Iterator[str]:
    """Names that settings hold; of `prompts.train` the data's own name."""
    if isinstance(value, str):
        yield value.partition(".")[0]
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _words(each)
