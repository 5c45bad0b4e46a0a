"""Models named by a path or a Hub id, as a reader wants to see them: by the last part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Name → last part of its path, where that is shorter and no two become alike.

    Example:
        >>> short_names(["../models/stories260K", "ppo"])
        {'../models/stories260K': 'stories260K'}
    """
    short = {name: name.rstrip("/").rpartition("/")[2] for name in names}
    alike = [name for name in names if list(short.values()).count(short[name]) > 1]
    return {name: last for name, last in short.items() if last != name and name not in alike}


def renamed(content: Any, names: dict[str, str]) -> Any:
    """JSON content in which every name is its short form, also within sentences and as a key."""
    if isinstance(content, str):
        for name, short in names.items():
            content = content.replace(name, short)
        return content
    if isinstance(content, list):
        return [renamed(one, names) for one in content]
    if isinstance(content, dict):
        return {renamed(key, names): renamed(value, names) for key, value in content.items()}
    return content
