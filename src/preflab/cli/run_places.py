"""Finds the run that a command names: its folder, or the newest one of a stage."""

from __future__ import annotations

from pathlib import Path

from preflab.cli.speaking import shown_path
from preflab.errors import PreflabError, nearest


def find_run(ref: str, recipe: Path, workspace: Path | None, *, finished: bool) -> Path:
    """The folder of a run: `ref` itself, or the newest run of the stage of this name in the workspace.

    Args:
        ref: a folder, or the name of a stage. A run is found by the name it has, whatever the recipe says by now.
        recipe: the recipe, whose workspace is searched; without one the current folder is.
        workspace: searched instead, if it is given.
        finished: whether runs that are still in progress are passed over.

    Raises:
        PreflabError: there is neither such a folder nor such a run.
    """
    if (Path(ref) / "manifest.json").is_file():
        return Path(ref)
    from preflab.stages.common.manifest import read_manifest

    place = workspace or _workspace(recipe)
    folders = [path.parent for path in sorted((place / "runs").glob("*/manifest.json"))]
    manifests = {folder: read_manifest(folder) for folder in folders}
    usable = {folder: one for folder, one in manifests.items() if one.get("state") == "done" or not finished}
    mine = [folder for folder, one in usable.items() if one.get("stage") == ref]
    if not mine:
        names = sorted({str(one["stage"]) for one in usable.values()})
        near = nearest(ref, names)
        kind = "a finished run" if finished else "a run"
        raise PreflabError(
            f"{ref}: neither the folder of a run nor a stage with {kind} in {shown_path(place)}",
            f"near it: {near}" if near else f"one of {', '.join(names) or '(there are none)'}",
            "name a run's folder, or the workspace with --workspace",
        )
    return max(mine, key=lambda folder: str(usable[folder].get("finished") or usable[folder].get("started")))


def _workspace(recipe: Path) -> Path:
    if not recipe.exists():
        return Path.cwd()
    from preflab import pipeline
    from preflab.recipe import load_recipe

    return pipeline.workspace_folder(load_recipe(recipe))
