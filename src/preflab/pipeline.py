"""The stages of a recipe: in which order, what is done, what is stale, where a person is awaited.

A stage lives in `runs/<name>-<key12>/`. Its key is what makes its result (`stages.keys`), so a changed setting means
another folder and nothing is overwritten. The keys of the stages that read it also take in its resumable settings:
raising `num_steps` continues in the same folder, and what was learned from the shorter run becomes stale.
New judgments never make a finished stage stale; `fresh` or the next round takes them in.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from preflab.errors import PreflabError, nearest
from preflab.files import write_text
from preflab.recipe import Recipe
from preflab.stages import resumable, stage_module
from preflab.stages.base import StageContext, StageOutput, StageResult
from preflab.stages.keys import ContentHashes, digest, stage_key
from preflab.stages.runs import FreshCounts, locked, now, read_manifest, versions, write_manifest

if TYPE_CHECKING:
    from preflab.store.workspace import Workspace

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
    """The key as later stages see it: with the resumable settings."""
    inputs: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class Line:
    """What the table says of one stage."""

    name: str
    kind: str
    state: Literal["done", "waiting", "–"]
    summary: str
    folder: Path
    seconds: float = 0.0
    ran: bool = False
    """False when it was done already."""
    link: str = ""


Watcher = Callable[[Step, Line | None], None]
"""Called with None when a stage starts, with its line when it ends."""


def workspace_folder(recipe: Recipe, workspace: Path | None = None) -> Path:
    """The folder of the database and of `runs/`: the one given, or the recipe's."""
    return workspace.absolute() if workspace else recipe.resolve(recipe.settings.workspace).resolve()


def plan(recipe: Recipe, runs: Path, fresh: Sequence[str] = ()) -> dict[str, Step]:
    """Every stage with its key, inputs before those that read them.

    Args:
        fresh: stages whose key is to be a new one, so that they and what follows run again.

    Raises:
        PreflabError: a user's function without a module.
    """
    hashes, counts = ContentHashes(runs), FreshCounts(runs)
    steps: dict[str, Step] = {}
    for name in in_order(recipe):
        settings, kind = recipe.stages[name], recipe.kind(name)
        left_out = resumable(kind)
        inputs = tuple(recipe.inputs(name))
        keys = {other: steps[other].output_key for other in inputs}
        key = stage_key(recipe, name, hashes, inputs=keys, version=stage_module(kind).VERSION, left_out=left_out)
        if name in fresh:
            counts.add(key)
        if counts.get(key):
            key = digest([key, counts.get(key)])
        output_key = digest([key, [getattr(settings, field) for field in left_out]]) if left_out else key
        folder = runs / f"{name}-{key[:12]}"
        steps[name] = Step(name, kind, settings, recipe.stage_seed(name), key, output_key, inputs, folder)
    hashes.save()
    return steps


def in_order(recipe: Recipe) -> list[str]:
    """Stage names, each after what it reads, otherwise as the file has them."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        for other in recipe.inputs(name):
            visit(other)
        ordered.setdefault(name)

    for name in recipe.stages:
        visit(name)
    return list(ordered)


def before(steps: Mapping[str, Step], names: Sequence[str]) -> list[str]:
    """These stages and everything they need, in order."""
    wanted = set(names)
    for name in reversed(list(steps)):
        if name in wanted:
            wanted |= set(steps[name].inputs)
    return [name for name in steps if name in wanted]


def state_of(step: Step) -> State:
    """How far a stage came.

    Raises:
        PreflabError: it is done, and longer than the recipe asks for.
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
                f"stages.{step.name}.{name}: {wanted}, but the stage has done {finished} already",
                f"{name} of at least {finished}, which is kept",
                f"write {name}: {finished}, or start again with --fresh {step.name}",
            )
        if wanted > finished:
            return "interrupted"
    return "done"


def run(
    recipe: Recipe,
    *,
    workspace: Path | None = None,
    until: Sequence[str] = (),
    only: Sequence[str] = (),
    fresh: Sequence[str] = (),
    watch: Watcher | None = None,
) -> list[Line]:
    """Does what is missing or stale, in order; skips what is done; goes on where it was interrupted.

    Stages that need people's answers come back as `waiting`, and so does nothing that needs them; the rest runs.

    Args:
        workspace: the folder of the database and of `runs/`; None: the recipe's.
        until: these stages and what they need; (): all.
        only: these stages alone, what they need being done.
        fresh: stages to do again, with everything after them.
        watch: is told of the start and the end of each stage.

    Raises:
        PreflabError: an unknown stage, another run in the workspace, or what a stage refuses.
    """
    for name in (*until, *only, *fresh):
        _check_stage(recipe, name)
    folder = workspace_folder(recipe, workspace)
    with locked(folder / "runs"):
        steps = plan(recipe, folder / "runs", fresh)
        for name in only:
            _check_inputs(steps, name)
        wanted = before(steps, until) if until else list(steps)
        return _Runner(recipe, folder, steps, watch).run([name for name in wanted if not only or name in only])


def show(recipe: Recipe, workspace: Path | None = None) -> list[Line]:
    """The table as it stands, without running anything."""
    folder = workspace_folder(recipe, workspace)
    lines = []
    for step in plan(recipe, folder / "runs").values():
        state = state_of(step)
        lines.append(_line(step, False) if state in ("done", "waiting") else _idle(step, "not done yet"))
    return lines


def output(step: Step) -> StageOutput:
    """A finished stage as those after it see it."""
    return StageOutput(step.name, step.kind, step.key, step.folder, read_manifest(step.folder))


def _check_stage(recipe: Recipe, name: str) -> None:
    if name not in recipe.stages:
        near = nearest(name, list(recipe.stages))
        raise PreflabError(
            f"{recipe.path.name} has no stage `{name}`",
            f"near it: {near}" if near else f"known: {', '.join(recipe.stages)}",
            "mend the name",
        )


def _check_inputs(steps: Mapping[str, Step], name: str) -> None:
    lacking = [other for other in steps[name].inputs if state_of(steps[other]) != "done"]
    if lacking:
        raise PreflabError(
            f"stage {name} needs {', '.join(lacking)}, not done yet",
            "its inputs finished",
            f"run them first, or use --until {name}",
        )


def _line(step: Step, ran: bool) -> Line:
    manifest = read_manifest(step.folder)
    return Line(
        step.name,
        step.kind,
        "waiting" if manifest["state"] == "waiting" else "done",
        manifest["summary"],
        step.folder,
        manifest["seconds"],
        ran,
        manifest.get("link", ""),
    )


def _idle(step: Step, why: str) -> Line:
    return Line(step.name, step.kind, "–", why, step.folder)


class _Runner:
    """One pass over the stages."""

    def __init__(self, recipe: Recipe, folder: Path, steps: Mapping[str, Step], watch: Watcher | None) -> None:
        self.recipe, self.folder, self.steps = recipe, folder, steps
        self.watch: Watcher = watch or (lambda step, line: None)
        self._workspace: Workspace | None = None

    def run(self, names: Sequence[str]) -> list[Line]:
        lines: dict[str, Line] = {}
        sys.path.append(str(self.recipe.folder))  # a recipe's own reward functions lie beside it
        try:
            for name in names:
                lines[name] = self._one(self.steps[name], lines)
        finally:
            sys.path.remove(str(self.recipe.folder))
            if self._workspace is not None:
                self._workspace.close()
        return list(lines.values())

    def _one(self, step: Step, lines: Mapping[str, Line]) -> Line:
        held_up = [name for name in step.inputs if name in lines and lines[name].state != "done"]
        if held_up:
            return _idle(step, f"waits for {', '.join(held_up)}")
        if state_of(step) == "done":
            return _line(step, False)
        self.watch(step, None)
        self._do(step)
        line = _line(step, True)
        self.watch(step, line)
        return line

    def _do(self, step: Step) -> None:
        former = read_manifest(step.folder)
        manifest = self._manifest(step) | {"state": "running", "started": former.get("started", now())}
        spent, began = former.get("seconds", 0.0), time.monotonic()
        self._write(step, manifest | {"seconds": spent})
        try:
            result = self._call(step, former)
        except BaseException:
            # Kept as "running": the next call goes on in this folder, and the time spent so far is not forgotten.
            self._write(step, manifest | {"seconds": round(spent + time.monotonic() - began, 3)})
            raise
        self._write(
            step,
            manifest
            | {
                "state": "waiting" if result.waiting else "done",
                "finished": None if result.waiting else now(),
                "seconds": round(spent + time.monotonic() - began, 3),
                "summary": result.waiting or result.summary,
                "figures": dict(result.figures),
                "link": result.link,
            },
        )

    def _call(self, step: Step, former: Mapping[str, Any]) -> StageResult:
        module = stage_module(step.kind)
        prepare(self.recipe, step.seed, needs_torch=getattr(module, "needs_torch", True))
        finished = former.get("settings", {}) if former.get("state") == "done" else {}
        done = [finished[name] for name in resumable(step.kind) if name in finished]
        return module.run(
            StageContext(
                name=step.name,
                settings=step.settings,
                seed=step.seed,
                folder=step.folder,
                recipe=self.recipe,
                inputs={name: output(self.steps[name]) for name in step.inputs},
                upstream={name: output(self.steps[name]) for name in before(self.steps, [step.name])[:-1]},
                device=self.recipe.device,
                open_workspace=self._open,
                num_done=done[0] if done else None,
            )
        )

    def _open(self) -> Workspace:
        from preflab.store.workspace import Workspace

        if self._workspace is None:
            self._workspace = Workspace.open(self.folder, create=True)
        return self._workspace

    def _manifest(self, step: Step) -> dict[str, Any]:
        return {
            "stage": step.name,
            "kind": step.kind,
            "key": step.key,
            "version": stage_module(step.kind).VERSION,
            "settings": step.settings.model_dump(mode="json"),
            "inputs": {name: self.steps[name].key for name in step.inputs},
            "seed": step.seed,
            "versions": versions(),
            "state": "running",
            "started": None,
            "finished": None,
            "seconds": 0.0,
            "summary": "",
            "figures": {},
        }

    def _write(self, step: Step, manifest: dict[str, Any]) -> None:
        write_manifest(step.folder, manifest)
        write_text(step.folder / "recipe.resolved.yaml", resolved_text(self.recipe))


def resolved_text(recipe: Recipe) -> str:
    """The recipe with every default written out, as YAML; its paths are still those of the recipe's folder."""
    import yaml

    head = f"# {recipe.path.name} with every default written out; paths are read from the folder of that file.\n"
    return head + yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True)


def prepare(recipe: Recipe, seed: int, *, needs_torch: bool) -> None:
    """The one place that sets threads and the global seeds; torch is imported here when the stage needs it."""
    threads = str(recipe.device.threads)
    os.environ.update(OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, TOKENIZERS_PARALLELISM="false")
    random.seed(seed)
    if needs_torch:
        import numpy
        import torch

        torch.set_num_threads(recipe.device.threads)
        torch.manual_seed(seed)
        numpy.random.seed(seed)
