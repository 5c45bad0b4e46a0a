"""`--set stages.ppo.kl_coef=0.1`: change single settings of a recipe from the command line."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError, cut, nearest
from preflab.settings.recipe import RecipeSettings
from preflab.yaml_files import kind, parse

NAMED = ("data", "labelers", "stages")
"""Sections whose keys are names chosen in the file: --set changes existing entries and adds none."""


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str], path: Path) -> dict[str, Any]:
    """A copy of the recipe's mapping with each `dotted.path=value` applied; values are validated later.

    Raises:
        PreflabError: an override has no `=`, or its path does not exist.
    """
    changed = copy.deepcopy(raw)
    for override in overrides:
        name, equals, text = override.partition("=")
        keys = name.strip().split(".")
        shown = cut(override)
        if not equals or not all(keys):
            raise PreflabError(
                f"--set {shown}", "a dotted path, `=` and a value", "for example --set stages.ppo.kl_coef=0.1"
            )
        _check_start(changed, keys, shown, path)
        _set_value(changed, keys, parse(text, f"--set {shown}"), shown)
    return changed


def _check_start(raw: dict[str, Any], keys: list[str], override: str, path: Path) -> None:
    sections = list(RecipeSettings.model_fields)
    if keys[0] not in sections:
        _refuse_unknown(keys[0], "section", sections, override, path)
    if keys[0] in NAMED:
        names = list(raw.get(keys[0]) or {})
        if len(keys) < 3:
            raise PreflabError(
                f"--set {override}: a whole entry of `{keys[0]}`",
                f"one setting of it, such as {keys[0]}.{names[0] if names else 'name'}.setting=value",
                "write whole entries into the recipe file",
            )
        if keys[1] not in names:
            _refuse_unknown(
                keys[1], {"stages": "stage", "labelers": "panel"}.get(keys[0], keys[0]), names, override, path
            )


def _refuse_unknown(word: str, what: str, known: list[str], override: str, path: Path) -> None:
    raise PreflabError(
        f"--set {override}: {path} has no {what} `{cut(word)}`",
        f"near it: {near}" if (near := nearest(word, known)) else f"known: {', '.join(known) or 'none'}",
        "correct the path before the `=`",
    )


def _set_value(raw: Any, keys: list[str], value: Any, override: str) -> None:
    here = raw
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(here, list):
            index = _index(key, here, override)
            if last:
                here[index] = value
            else:
                here = here[index]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            else:
                here = here.setdefault(key, {}) if here.get(key) is not None else _add_section(here, key)
        else:
            above = ".".join(keys[:depth])
            raise PreflabError(
                f"--set {override}: {cut(above)} is {kind(here)}", "a section or a list", "shorten the path"
            )


def _add_section(here: dict[str, Any], key: str) -> Any:
    here[key] = {}
    return here[key]


def _index(key: str, items: list[Any], override: str) -> int:
    if key.isdecimal() and len(key) < 10 and int(key) < len(items):  # int() refuses more than 4,300 digits
        return int(key)
    raise PreflabError(f"--set {override}: `{cut(key)}`", f"a position from 0 to {len(items) - 1}", "correct the path")
