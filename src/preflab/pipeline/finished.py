"""Runs a stage that no recipe names on finished runs, as `preflab simulate RUN…` does.

The inputs are taken from the manifests of the run folders. Nothing is planned again, so runs of an older version, or of
a recipe that has changed since, can be used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.files import run_folder_name
from preflab.pipeline.content_hashes import ContentHashes
from preflab.pipeline.keys import stage_key
from preflab.pipeline.launches import Processes
from preflab.pipeline.planning import Step, output
from preflab.pipeline.running import Line, Watcher, functions_found, prepare, run_steps
from preflab.pipeline.runs import locked
from preflab.recipe import Recipe, recipe_at
from preflab.settings.base import StageSettings
from preflab.stages import stage_module
from preflab.stages.base import StageContext
from preflab.stages.common.manifest import read_manifest
from preflab.yaml_files import read_yaml

RESOLVED = "recipe.resolved.yaml"


@dataclass
class Finished:
    """Finished runs of one workspace, and every run that led to them."""

    workspace: Path
    recipe: Recipe
    """The recipe of the first run."""
    names: list[str] = field(default_factory=list)
    """The names of the runs in `steps`, in the order in which they were asked for."""
    steps: dict[str, Step] = field(default_factory=dict)
    """Name → step, inputs first. A second run of a stage has the start of its key in its name: `ppo-3f2a`."""
    manifests: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def finished_runs(folders: Sequence[Path]) -> Finished:
    """Reads finished runs and those that led to them.

    Raises:
        PreflabError: a folder is no finished run, one of its inputs is gone, or they lie in different workspaces.
    """
    folders = [folder.resolve() for folder in folders]
    workspace = folders[0].parents[1]
    for folder in folders:
        if folder.parents[1] != workspace:
            raise PreflabError(
                f"{folder.name} lies in {folder.parents[1]}",
                f"runs of one workspace, {workspace}",
                "name runs of one workspace",
            )
    finished = Finished(workspace, _recipe_of(folders[0], workspace))
    for folder in folders:
        name = _add(finished, folder)
        if name not in finished.names:
            finished.names.append(name)
    return finished


def _recipe_of(folder: Path, workspace: Path) -> Recipe:
    """The recipe that made a run, at its own place: the folder from which its `workspace` leads to this one."""
    file = folder / RESOLVED
    _check_finished(folder)
    if not file.is_file():
        raise PreflabError(f"{folder}: no {RESOLVED}", "the recipe of the run", "run the stage again")
    content = read_yaml(file)
    named = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").partition(" with ")[0]
    relative = Path(str(content.get("workspace", ".")))
    places = [place for place in (workspace, *workspace.parents) if (place / relative).resolve() == workspace]
    return recipe_at((places or [workspace])[0] / (named or "recipe.yaml"), content)


def _check_finished(folder: Path) -> Mapping[str, Any]:
    manifest = read_manifest(folder)
    if manifest.get("state") != "done":
        raise PreflabError(
            f"{folder}: {'no run' if not manifest else 'the run is ' + str(manifest['state'])}",
            "the folder of a finished run, such as runs/ppo-3f2a…",
            "name a finished run, or run the recipe to its end",
        )
    return manifest


def _add(found: Finished, folder: Path) -> str:
    """Adds a run, after its inputs, and returns its name."""
    manifest = _check_finished(folder)
    for name, one in found.manifests.items():
        if one["key"] == manifest["key"]:
            return name
    inputs = []
    for other, key in manifest["inputs"].items():
        before = folder.parent / run_folder_name(other, key)
        if not read_manifest(before):
            raise PreflabError(
                f"{folder.name} was made from {before.name}, which is gone", "its inputs", "restore the folder"
            )
        inputs.append(_add(found, before))
    stage = str(manifest["stage"])
    name = stage if stage not in found.steps else f"{stage}-{manifest['key'][:4]}"
    settings = manifest["settings"]
    found.manifests[name] = manifest
    found.steps[name] = Step(
        name, manifest["kind"], settings, manifest["seed"], manifest["key"], manifest["key"], tuple(inputs), folder
    )
    return name


def run_on(
    found: Finished, name: str, settings: StageSettings, *, recipe: Recipe, watch: Watcher | None = None
) -> Line:
    """Run one more stage on finished runs; a second call finds its result if nothing that the stage reads has changed.

    Args:
        found: the finished runs.
        name: the name of the stage.
        settings: its settings, which name runs of `found`.
        recipe: the recipe of the runs, with whatever data the settings name.
        watch: called at the start and at the end of the stage.

    Raises:
        PreflabError: another run uses the workspace, or the stage refuses its settings.
    """
    kind = str(type(settings).model_fields["kind"].default)
    recipe = dataclasses.replace(recipe, stages={**recipe.stages, name: settings})
    inputs = tuple(each for each in found.steps if each in found.names)
    runs, keys = found.workspace / "runs", {each: found.steps[each].key for each in inputs}
    with functions_found(recipe):
        hashes = ContentHashes(runs)
        key = stage_key(recipe, name, hashes, inputs=keys, version=stage_module(kind).VERSION)
        hashes.save()
    step = Step(name, kind, settings, recipe.stage_seed(name), key, key, inputs, runs / run_folder_name(name, key))
    with locked(runs):
        (line,) = run_steps(recipe, found.workspace, {**found.steps, name: step}, [name], Processes(), watch)
    return line


@contextmanager
def context_on(
    found: Finished, name: str, settings: StageSettings, folder: Path, *, recipe: Recipe
) -> Iterator[StageContext]:
    """The context of a stage that `run_on` ran; functions of the recipe's folder can be imported inside the block.

    Args:
        found, name, settings, recipe: as for `run_on`.
        folder: the stage's folder.
    """
    from preflab.store.opening import opened

    recipe = dataclasses.replace(recipe, stages={**recipe.stages, name: settings})
    upstream = {each: output(step) for each, step in found.steps.items()}
    with functions_found(recipe), ExitStack() as stack:
        ctx = StageContext(
            name=name,
            settings=settings,
            seed=recipe.stage_seed(name),
            folder=folder,
            recipe=recipe,
            inputs={each: upstream[each] for each in found.names},
            upstream=upstream,
            device=recipe.device,
            open_workspace=lambda: stack.enter_context(opened(found.workspace, create=False)),
        )
        prepare(recipe, ctx.seed, needs_torch=True)
        yield ctx
