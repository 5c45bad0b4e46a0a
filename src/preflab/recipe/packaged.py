"""Data files of preflab itself, which a recipe names as `preflab:myths.jsonl`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

PACKAGED = "preflab:"
"""Prefix of a path that names a file of the package instead of one beside the recipe."""


def packaged_names() -> list[str]:
    """The paths of all data files of the package, as a recipe writes them."""
    folder = files("preflab.evaluation") / "probe_data"
    return sorted(PACKAGED + file.name for file in folder.iterdir() if file.name.endswith(".jsonl"))


def packaged_path(path: str) -> Path | None:
    """The file that a path with the prefix `preflab:` names, whether it exists or not; None for any other path."""
    if not path.startswith(PACKAGED):
        return None
    return Path(str(files("preflab.evaluation") / "probe_data" / path.removeprefix(PACKAGED)))
