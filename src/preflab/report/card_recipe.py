"""The resolved recipe for publication: the relevant stages only, without the machine's paths and addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from preflab.seeds import split_seed

PATH = re.compile(r"(/|~|\.\.?/)\S*|\S+/\S+/\S*")
"""A path: absolute, relative with a dot, or with two slashes or more. `owner/name` is an id on the Hub."""
ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://\S+")


def redact_recipe(text: str, names: Sequence[str]) -> str:
    """The recipe's YAML reduced to the stages of these names and to the stages, data and panels they refer to.

    Paths are cut to their last part, addresses are removed.
    """
    recipe: dict[str, Any] = yaml.safe_load(text)
    stages = recipe.get("stages") or {}
    recipe["stages"] = {name: one for name, one in stages.items() if name in _with_named(stages, names)}
    words = set(_words(recipe["stages"]))
    for section in ("data", "labelers"):
        recipe[section] = {name: one for name, one in (recipe.get(section) or {}).items() if name in words}
    recipe.pop("workspace", None)
    return yaml.safe_dump(_redact(recipe), sort_keys=False, allow_unicode=True)


def _with_named(stages: dict[str, Any], names: Sequence[str]) -> set[str]:
    """The stages of these names and every stage they refer to, directly or through others."""
    reached: set[str] = set()
    waiting = [split_seed(name)[0] for name in names]
    while waiting:
        name = waiting.pop()
        if name in stages and name not in reached:
            reached.add(name)
            waiting += [split_seed(word)[0] for word in _words(stages[name])]
    return reached


def redact_name(text: str) -> str:
    """The last part of a path, "(an address)" for an address, any other text unchanged."""
    if ADDRESS.fullmatch(text):
        return "(an address)"
    return text.rstrip("/").rpartition("/")[2] or text if PATH.fullmatch(text) else text


def _redact(value: Any) -> Any:
    if isinstance(value, str):
        return redact_name(value)
    if isinstance(value, list):
        return [_redact(each) for each in value]
    if isinstance(value, dict):
        return {_redact(name): _redact(each) for name, each in value.items()}
    return value


def _words(value: Any) -> Iterator[str]:
    """All strings in the settings, cut at the first dot: `prompts.train` gives `prompts`."""
    if isinstance(value, str):
        yield value.partition(".")[0]
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _words(each)
