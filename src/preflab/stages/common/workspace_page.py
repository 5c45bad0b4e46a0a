"""The name of a stage's page in the workspace's folder, where a person looks for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflab.stages.common.manifest import read_manifest

WRITTEN_OUT = " with every default written out"
"""The text after the recipe's name in the first line of a run's `recipe.resolved.yaml`."""


def page_name(recipe: Path, workspace: Path, name: str, kind: str) -> str:
    """The name of a recipe's page: `NAME.html`, or `NAME-RECIPE.html` if `NAME.html` is another recipe's page.

    Args:
        recipe: the recipe's file.
        workspace: the folder that gets the page.
        name: what the page is, such as `report`.
        kind: the kind of stage that writes it.
    """
    owner = _owner(workspace, f"{name}.html", kind)
    return f"{name}.html" if owner in ("", recipe.name) else f"{name}-{recipe.stem}.html"


def _owner(workspace: Path, page: str, kind: str) -> str:
    """The file name of the recipe that last wrote the page; "" if unknown."""
    if not (workspace / page).is_file():
        return ""
    owners: list[tuple[str, str]] = []
    for folder in (path.parent for path in (workspace / "runs").glob("*/manifest.json")):
        manifest: Mapping[str, Any] = read_manifest(folder)
        resolved = folder / "recipe.resolved.yaml"
        if manifest.get("kind") == kind and Path(str(manifest.get("link"))).name == page and resolved.is_file():
            first, _, _ = resolved.read_text(encoding="utf-8").partition("\n")
            owners.append((str(manifest.get("finished")), first.removeprefix("# ").partition(WRITTEN_OUT)[0]))
    return max(owners, default=("", ""))[1]
