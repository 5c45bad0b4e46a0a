"""Settings that had another name once: the old one is read as the new one, and a line says so."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError

logger = logging.getLogger(__name__)

RENAMED = {("device", "dtype"): "precision"}
"""(section, old name) → new name. `dtype` was the type of all weights; `precision` is what is computed in."""


def with_new_names(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The recipe's mapping with old names replaced.

    Raises:
        PreflabError: a setting stands there under both names, with two values.
    """
    for (section, old), new in RENAMED.items():
        content = raw.get(section)
        if isinstance(content, dict) and old in content:
            _check_agreement(content[old], content.get(new, content[old]), f"{path}, {section}", old, new)
            renamed = {new if name == old else name: value for name, value in content.items() if name != new}
            raw = {**raw, section: renamed}
            logger.warning("%s: %s.%s is called %s.%s now and read as that", path, section, old, section, new)
    return raw


def with_new_paths(overrides: Sequence[str]) -> list[str]:
    """The `--set` overrides with old names replaced.

    Raises:
        PreflabError: a setting is overridden under both names, with two values.
    """
    renamed = list(overrides)
    for (section, old), new in RENAMED.items():
        values = {name: [o.partition("=")[2] for o in renamed if _path(o) == [section, name]] for name in (old, new)}
        if values[old] and values[new]:
            _check_agreement(values[old][-1], values[new][-1], f"--set {section}", old, new)
        if values[old]:
            renamed = [f"{section}.{new}={o.partition('=')[2]}" if _path(o) == [section, old] else o for o in renamed]
            logger.warning("--set %s.%s is called %s.%s now and read as that", section, old, section, new)
    return renamed


def _path(override: str) -> list[str]:
    return override.partition("=")[0].strip().split(".")


def _check_agreement(before: Any, now: Any, where: str, old: str, new: str) -> None:
    if before != now:
        raise PreflabError(
            f"{where}: {old} {before} and {new} {now}", f"one of them: {old} is the old name of {new}", f"remove {old}"
        )
