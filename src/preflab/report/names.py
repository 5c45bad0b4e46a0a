"""Short names for models given by a path or a Hub id: the last part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.seeds import split_seed


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Name → last part of its path, for names that get shorter by it and stay unique; `ppo/seed-1` stays whole.

    Example:
        >>> short_names(["../models/stories260K", "ppo"])
        {'../models/stories260K': 'stories260K'}
    """
    short = {name: name if split_seed(name)[1] is not None else name.rstrip("/").rpartition("/")[2] for name in names}
    alike = [name for name in names if list(short.values()).count(short[name]) > 1]
    return {name: last for name, last in short.items() if last != name and name not in alike}


def shorten_names(content: Any, names: dict[str, str]) -> Any:
    """JSON content with every name replaced by its short form, in keys and within sentences too."""
    if isinstance(content, str):
        for name, short in names.items():
            content = content.replace(name, short)
        return content
    if isinstance(content, list):
        return [shorten_names(one, names) for one in content]
    if isinstance(content, dict):
        return {shorten_names(key, names): shorten_names(value, names) for key, value in content.items()}
    return content
