"""Find the history of a trained model: the stages that led to it and the stages that measured it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflab.files import read_json, run_folder_name
from preflab.report.run_folders import Run

MEASURING = ("evaluate", "probe")
"""Kinds of stages that measure models."""


@dataclass(frozen=True)
class Lineage:
    """The run that made a model, with related runs of the same `runs/` folder."""

    run: Run
    """The stage that made the model."""
    before: tuple[Run, ...]
    """Every stage that led to it, inputs first."""
    after: tuple[Run, ...]
    """Stages that measured exactly this model; of each name the newest run."""
    missing: tuple[str, ...]
    """Names of stages that led to it but whose folders no longer exist."""

    def named(self, name: str) -> Run | None:
        """The run of this name among the run itself and those before it; None if there is none."""
        return next((run for run in (*self.before, self.run) if run.name == name), None)


def lineage_of(model: Path) -> Lineage | None:
    """The lineage of a model in a stage's folder (`runs/<stage>-<key>/model`); None if no stage made it."""
    folder = model.resolve().parent
    if not (folder / "manifest.json").is_file() or "stage" not in read_json(folder / "manifest.json"):
        return None
    run = Run.read(folder)
    before: dict[str, Run] = {}
    missing: dict[str, None] = {}
    _collect(run, before, missing)
    return Lineage(run, tuple(before.values()), tuple(_measuring(run)), tuple(missing))


def _collect(run: Run, before: dict[str, Run], missing: dict[str, None]) -> None:
    """Add the inputs of a run, and their inputs, to `before`; those without a folder to `missing`."""
    for name, key in _inputs(run).items():
        folder = run.folder.parent / run_folder_name(name, key)
        if not (folder / "manifest.json").is_file():
            missing[name] = None
        elif name not in before:
            other = Run.read(folder)
            _collect(other, before, missing)
            before[name] = other


def _measuring(run: Run) -> Iterator[Run]:
    """Finished measurements of the run's model, made after the run finished: earlier ones measured older weights."""
    newest: dict[str, Run] = {}
    for path in sorted(run.folder.parent.glob("*/manifest.json")):
        other = Run(path.parent, read_json(path))
        if other.kind not in MEASURING or other.manifest.get("state") != "done":
            continue
        same = _inputs(other).get(run.name) == run.manifest.get("key")
        same = same and run.name in (other.settings.get("models") or [])
        if same and _finished(other) >= _finished(run) and _finished(other) >= _finished(newest.get(other.name)):
            newest[other.name] = other
    yield from sorted(newest.values(), key=_finished)


def _inputs(run: Run) -> dict[str, str]:
    inputs: dict[str, Any] = run.manifest.get("inputs") or {}
    return {name: str(key) for name, key in inputs.items()}


def _finished(run: Run | None) -> str:
    """The time it finished, ISO 8601 in UTC; "" if unknown."""
    return str(run.manifest.get("finished") or "") if run is not None else ""
