"""Runs the stages of a recipe: runs missing and stale stages, skips finished ones, and reports the state of each.

The folder of a stage is `runs/<name>-<key12>/`. The key covers everything that determines the result (`pipeline.keys`),
so a changed setting leads to another folder and nothing is overwritten. Resumable settings are not part of a stage's
own key, but of the keys of the stages that read it: raising `num_steps` continues in the same folder, and results that
depend on the shorter run become stale. New judgments never make a finished stage stale; `fresh` or the next round uses
them.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from preflab.errors import PreflabError, nearest
from preflab.files import count_rows, describe_cut_files, write_text
from preflab.pipeline.content_hashes import ContentHashes
from preflab.pipeline.hub_files import check_hub_files
from preflab.pipeline.keys import data_read
from preflab.pipeline.launches import Processes
from preflab.pipeline.planning import Step, before, output, plan, state_of
from preflab.pipeline.runs import FreshCounts, locked, now, versions
from preflab.recipe import Recipe
from preflab.stages import check_before, resumable, stage_module
from preflab.stages.base import StageContext, StageResult, computed_precision
from preflab.stages.common.manifest import read_manifest, write_manifest

if TYPE_CHECKING:
    from preflab.store.workspace import Workspace

logger = logging.getLogger(__name__)

SAID_ONCE = (
    "models.trunk",
    "models.packing",
    "models.four_bit",
    "models.recomputed_blocks",
    "stages.common.prompt_sharing",
    "conversations.lost_parts",
    "conversations.spelling",
)
"""Modules whose messages describe a model; each stage loads its model again."""


@dataclass(frozen=True)
class Line:
    """One stage in the table of results."""

    name: str
    kind: str
    state: Literal["done", "waiting", "–"]
    summary: str
    folder: Path
    seconds: float = 0.0
    ran: bool = False
    """False if the stage was done already."""
    link: str = ""


Watcher = Callable[[Step, Line | None], None]
"""Called with None when a stage starts, and with its line when it ends."""


def workspace_folder(recipe: Recipe, workspace: Path | None = None) -> Path:
    """The folder that contains the database and `runs/`: `workspace`, or that of the recipe's settings if None."""
    return workspace.absolute() if workspace else recipe.resolve(recipe.settings.workspace).resolve()


def run(
    recipe: Recipe,
    *,
    workspace: Path | None = None,
    until: Sequence[str] = (),
    only: Sequence[str] = (),
    fresh: Sequence[str] = (),
    watch: Watcher | None = None,
) -> list[Line]:
    """Run missing and stale stages in order, skip finished stages, resume interrupted ones.

    A stage that needs people's answers is returned as `waiting`. Stages that depend on it do not run; all others do.

    Args:
        recipe: the recipe.
        workspace: the folder that contains the database and `runs/`; None: the one of the recipe.
        until: run only these stages and the stages they depend on; (): all stages. Here and in `only` and `fresh` the
            name of a stage that is repeated for several seeds means all of them.
        only: run only these stages; their inputs must be done.
        fresh: run these stages, and all stages that depend on them, again.
        watch: called at the start and at the end of each stage.

    Returns:
        One line per stage.

    Raises:
        PreflabError: a stage is unknown, another run uses the workspace, or a stage refuses its settings or data.
    """
    until, only, fresh = ([each for name in names for each in _named(recipe, name)] for names in (until, only, fresh))
    folder, processes = workspace_folder(recipe, workspace), Processes()
    with locked(folder / "runs") if processes.main else nullcontext():
        counts = FreshCounts(folder / "runs", fresh)
        steps = plan(recipe, folder / "runs", counts)
        wanted = [name for name in (before(steps, until) if until else steps) if not only or name in only]
        with functions_found(recipe):
            unfinished = [name for name in wanted if state_of(steps[name]) != "done"]
            check_hub_files(recipe, unfinished)
            for name in unfinished:  # all of these may raise, so call them before any change
                check_before(recipe, name)
        for name in only:
            _check_inputs(steps, name)
        processes.agree()  # wait until all processes have planned with the old counts
        if processes.main:
            counts.save()
            if recipe.seeds_text:
                logger.warning("%s", recipe.seeds_text)
            if recipe.device.precision == "auto":
                logger.warning("device.precision: auto uses %s on this machine", computed_precision(recipe.device))
        return run_steps(recipe, folder, steps, wanted, processes, watch)


def run_steps(
    recipe: Recipe,
    folder: Path,
    steps: Mapping[str, Step],
    names: Sequence[str],
    processes: Processes,
    watch: Watcher | None = None,
) -> list[Line]:
    """Run the named steps of a plan, in this order, in the workspace `folder`; see `run`."""
    return _Runner(recipe, folder, steps, processes, watch).run(names)


def show(recipe: Recipe, workspace: Path | None = None) -> list[Line]:
    """The lines of all stages in their current state; runs nothing."""
    folder = workspace_folder(recipe, workspace)
    lines = []
    for step in plan(recipe, folder / "runs").values():
        state = state_of(step)
        idle = "interrupted; the next run continues it" if state == "interrupted" else "not done yet"
        lines.append(_line(step, False) if state in ("done", "waiting") else _idle(step, idle))
    return lines


@contextmanager
def functions_found(recipe: Recipe) -> Iterator[None]:
    """Make modules in the recipe's folder, such as reward functions, importable within the block."""
    sys.path.append(str(recipe.folder))
    try:
        yield
    finally:
        sys.path.remove(str(recipe.folder))


@contextmanager
def _models_described_once() -> Iterator[None]:
    """Within the block, log each message about a model once, although every stage loads its model again."""
    texts_seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        known = text in texts_seen
        texts_seen.add(text)
        return not known

    loggers = [logging.getLogger(f"preflab.{name}") for name in SAID_ONCE]
    for each in loggers:
        each.addFilter(is_new)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(is_new)


def _named(recipe: Recipe, name: str) -> tuple[str, ...]:
    """The stages that a name means: of a stage that is repeated for several seeds, all of them."""
    names = recipe.names_of(name)
    if not names:
        near = nearest(name, list(recipe.stages))
        raise PreflabError(
            f"{recipe.path.name} has no stage `{name}`",
            f"near it: {near}" if near else f"known: {', '.join(recipe.stages)}",
            "correct the stage's name",
        )
    return names


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
        "; ".join([manifest["summary"], *describe_cut_files(step.folder, manifest.get("rows", {}))]),
        step.folder,
        manifest["seconds"],
        ran,
        manifest.get("link", ""),
    )


def _idle(step: Step, why: str) -> Line:
    return Line(step.name, step.kind, "–", why, step.folder)


class _Runner:
    """Runs the stages of one call of `run`."""

    def __init__(
        self, recipe: Recipe, folder: Path, steps: Mapping[str, Step], processes: Processes, watch: Watcher | None
    ) -> None:
        self.recipe, self.folder, self.steps, self.processes = recipe, folder, steps, processes
        self.watch: Watcher = watch or (lambda step, line: None)
        self._workspace: Workspace | None = None

    def run(self, names: Sequence[str]) -> list[Line]:
        lines: dict[str, Line] = {}
        try:
            with functions_found(self.recipe), _models_described_once():
                for name in names:
                    lines[name] = self._one(self.steps[name], lines)
        finally:
            if self._workspace is not None:
                self._workspace.close()
        return list(lines.values())

    def _one(self, step: Step, lines: Mapping[str, Line]) -> Line:
        held_up = [name for name in step.inputs if name in lines and lines[name].state != "done"]
        if held_up:
            return _idle(step, f"waits for {', '.join(held_up)}")
        if self.processes.agree(state_of(step)) == "done":
            return _line(step, False)
        self.watch(step, None)
        former = self.processes.agree(read_manifest(step.folder))
        if self.processes.main:
            self._do(step, former)
        elif getattr(stage_module(step.kind), "distributed", False):
            self._call(self._context(step, former))
        self.processes.agree()
        line = _line(step, True)
        self.watch(step, line)
        return line

    def _do(self, step: Step, former: Mapping[str, Any]) -> None:
        """Run a stage in the main process, and write its manifest before and after."""
        manifest = self._manifest(step) | {"state": "running", "started": former.get("started", now())}
        spent, began = former.get("seconds", 0.0), time.monotonic()
        self._write(step, manifest | {"seconds": spent})
        ctx = self._context(step, former)
        try:
            result = self._call(ctx)
        except BaseException as error:
            # The state stays "running": the next call resumes in this folder and adds to the time spent so far.
            self._write(step, manifest | {"seconds": round(spent + time.monotonic() - began, 3)})
            if isinstance(error, PreflabError) and step.name not in error.found:
                raise PreflabError(f"stage {step.name}: {error.found}", error.expected, error.do) from error
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
                "data": data_read(self.recipe, ctx.num_read, ContentHashes(self.folder / "runs")),
                "link": result.link,
            }
            | ({} if result.waiting else {"rows": count_rows(step.folder)}),
        )

    def _call(self, ctx: StageContext) -> StageResult:
        module = stage_module(self.recipe.kind(ctx.name))
        prepare(self.recipe, ctx.seed, needs_torch=getattr(module, "needs_torch", True))
        return module.run(self._with_memory_choice(ctx, shared=getattr(module, "distributed", False)))

    def _with_memory_choice(self, ctx: StageContext, *, shared: bool) -> StageContext:
        """The context with `auto` replaced by what fits into memory; the main process chooses for all."""
        from preflab.stages.common.chosen_memory import is_auto, memory_choice, with_memory_choice

        if not is_auto(ctx.settings):
            return ctx
        chosen = memory_choice(ctx) if self.processes.main else None
        return with_memory_choice(ctx, self.processes.agree(chosen) if shared else chosen)

    def _context(self, step: Step, former: Mapping[str, Any]) -> StageContext:
        finished = former.get("settings", {}) if former.get("state") == "done" else {}
        done = [finished[name] for name in resumable(step.kind) if name in finished]
        return StageContext(
            name=step.name,
            settings=step.settings,
            seed=step.seed,
            folder=step.folder,
            recipe=self.recipe,
            inputs={name: output(self.steps[name]) for name in step.inputs},
            upstream={name: output(self.steps[name]) for name in before(self.steps, [step.name])[:-1]},
            device=self.recipe.device,
            open_workspace=self._open,
            is_main_process=self.processes.main,
            num_done=done[0] if done else None,
        )

    def _open(self) -> Workspace:
        from preflab.store.opening import opened

        if self._workspace is None:
            self._workspace = opened(self.folder, create=True)
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
            "precision": computed_precision(self.recipe.device),
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
    """The recipe with every default written out, as YAML; paths stay relative to the recipe's folder."""
    import yaml

    head = f"# {recipe.path.name} with every default written out; paths are read from the folder of that file.\n"
    return head + yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True)


def prepare(recipe: Recipe, seed: int, *, needs_torch: bool) -> None:
    """Set the threads and the global seeds; no other code sets them. Imports torch only if the stage needs it."""
    threads = str(recipe.device.threads)
    os.environ.update(OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, TOKENIZERS_PARALLELISM="false")
    random.seed(seed)
    if needs_torch:
        import numpy
        import torch

        torch.set_num_threads(recipe.device.threads)
        torch.manual_seed(seed)
        numpy.random.seed(seed)
