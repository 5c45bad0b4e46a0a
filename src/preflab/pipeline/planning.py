"""Plans the stages of a recipe: their order, keys and folders, and the state of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from preflab.errors import PreflabError
from preflab.files import canonical_hash, run_folder_name
from preflab.pipeline.content_hashes import ContentHashes
from preflab.pipeline.keys import stage_key
from preflab.pipeline.runs import FreshCounts
from preflab.recipe import Recipe
from preflab.stages import resumable, stage_module
from preflab.stages.base import StageOutput
from preflab.stages.common.manifest import read_manifest
from preflab.stages.common.readings import changed_by_leads

State = Literal["done", "waiting", "interrupted", "missing"]


@dataclass(frozen=True)
class Step:
    """One stage, with its key and its folder."""

    name: str
    kind: str
    settings: Any
    seed: int
    key: str
    output_key: str
    """The key that later stages depend on; unlike `key` it covers the resumable settings."""
    inputs: tuple[str, ...]
    folder: Path


def plan(recipe: Recipe, runs: Path, counts: FreshCounts | None = None) -> dict[str, Step]:
    """All stages by name, each after its inputs.

    Args:
        recipe: the recipe.
        runs: the folder that contains the run folders.
        counts: how often each stage was started with `--fresh`; None: read from `runs`.

    Raises:
        PreflabError: the module of a user's function is missing or ambiguous.
    """
    hashes, counts = ContentHashes(runs), counts or FreshCounts(runs)
    steps: dict[str, Step] = {}
    for name in recipe.in_order():
        settings, kind = recipe.stages[name], recipe.kind(name)
        left_out = resumable(kind)
        inputs = tuple(recipe.inputs(name))
        keys = {other: steps[other].output_key for other in inputs}
        changed = changed_by_leads(recipe, name, _keys(steps), runs) if kind == "preferences" else {}
        version = stage_module(kind).VERSION
        key = stage_key(recipe, name, hashes, inputs=keys, version=version, left_out=left_out, changed=changed)
        if num := counts.of(name, key):
            key = canonical_hash([key, num])
        output_key = canonical_hash([key, [getattr(settings, field) for field in left_out]]) if left_out else key
        folder = runs / run_folder_name(name, key)
        steps[name] = Step(name, kind, settings, recipe.stage_seed(name), key, output_key, inputs, folder)
    hashes.save()
    return steps


def _keys(steps: Mapping[str, Step]) -> dict[str, str]:
    return {name: step.key for name, step in steps.items()}


def before(steps: Mapping[str, Step], names: Sequence[str]) -> list[str]:
    """Names of these stages and of all stages that they depend on, in order."""
    wanted = set(names)
    for name in reversed(list(steps)):
        if name in wanted:
            wanted |= set(steps[name].inputs)
    return [name for name in steps if name in wanted]


def state_of(step: Step) -> State:
    """The state of a stage.

    Raises:
        PreflabError: the stage is done and a resumable setting, such as `num_steps`, was higher than it is now.
    """
    manifest = read_manifest(step.folder)
    if not manifest or manifest["key"] != step.key:
        return "missing"
    if manifest["state"] != "done":
        return "waiting" if manifest["state"] == "waiting" else "interrupted"
    for name in resumable(step.kind):
        wanted, finished = getattr(step.settings, name), manifest["settings"][name]
        if wanted < finished:
            raise PreflabError(
                f"stages.{step.name}.{name}: {wanted}, but the stage has already done {finished}",
                f"{name} of at least {finished}",
                f"set {name}: {finished}, or start again with --fresh {step.name}",
            )
        if wanted > finished:
            return "interrupted"
    return "done"


def output(step: Step) -> StageOutput:
    """A finished stage as input of later stages."""
    return StageOutput(step.name, step.kind, step.key, step.folder, read_manifest(step.folder))
