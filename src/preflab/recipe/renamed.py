"""Renamed settings: read the old name as the new one, with a warning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError

logger = logging.getLogger(__name__)

RENAMED = {("device", "dtype"): "precision"}
"""(section, old name) → new name. `dtype` was the type of all weights; `precision` is that of computations."""


def replace_old_names(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The recipe's mapping with old names of settings replaced.

    Raises:
        PreflabError: a setting is given under both names with different values.
    """
    for (section, old), new in RENAMED.items():
        content = raw.get(section)
        if isinstance(content, dict) and old in content:
            _check_agreement(content[old], content.get(new, content[old]), f"{path}, {section}", old, new)
            renamed = {new if name == old else name: value for name, value in content.items() if name != new}
            raw = {**raw, section: renamed}
            logger.warning("%s: %s.%s is now called %s.%s; it is read as such", path, section, old, section, new)
    return raw


def replace_old_paths(overrides: Sequence[str]) -> list[str]:
    """The `--set` overrides with old names of settings replaced.

    Raises:
        PreflabError: a setting is overridden under both names with different values.
    """
    renamed = list(overrides)
    for (section, old), new in RENAMED.items():
        values = {name: [o.partition("=")[2] for o in renamed if _path(o) == [section, name]] for name in (old, new)}
        if values[old] and values[new]:
            _check_agreement(values[old][-1], values[new][-1], f"--set {section}", old, new)
        if values[old]:
            renamed = [f"{section}.{new}={o.partition('=')[2]}" if _path(o) == [section, old] else o for o in renamed]
            logger.warning("--set %s.%s is now called %s.%s; it is read as such", section, old, section, new)
    return renamed


def _path(override: str) -> list[str]:
    return override.partition("=")[0].strip().split(".")


def _check_agreement(before: Any, now: Any, where: str, old: str, new: str) -> None:
    if before != now:
        raise PreflabError(
            f"{where}: {old} {before} and {new} {now}", f"one of them: {old} is the old name of {new}", f"remove {old}"
        )
