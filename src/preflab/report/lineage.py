"""From the folder of a trained model to everything behind it: the stages that led to it, and those that measured it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflab.files import read_json
from preflab.report.runs import Run

MEASURING = ("evaluate", "probe")
"""Kinds of stages that measure models."""


@dataclass(frozen=True)
class Lineage:
    """One run with its neighbours in `runs/`."""

    run: Run
    """The stage that made the model."""
    before: tuple[Run, ...]
    """Every stage that led to it, each after what it read."""
    after: tuple[Run, ...]
    """Stages that measured this very model, the newest of each name."""
    missing: tuple[str, ...]
    """Stages that led to it and whose folders are gone."""

    def named(self, name: str) -> Run | None:
        """The stage of this name among those that led to the model, or its own."""
        return next((run for run in (*self.before, self.run) if run.name == name), None)


def lineage_of(model: Path) -> Lineage | None:
    """The lineage of a model in a stage's folder (`runs/<stage>-<key>/model`); None where no stage made it."""
    folder = model.resolve().parent
    if not (folder / "manifest.json").is_file() or "stage" not in read_json(folder / "manifest.json"):
        return None
    run = Run.read(folder)
    before: dict[str, Run] = {}
    missing: dict[str, None] = {}
    _collect(run, before, missing)
    return Lineage(run, tuple(before.values()), tuple(_measuring(run)), tuple(missing))


def _collect(run: Run, before: dict[str, Run], missing: dict[str, None]) -> None:
    """What a run read, and what that read before it."""
    for name, key in _inputs(run).items():
        folder = run.folder.parent / f"{name}-{key[:12]}"
        if not (folder / "manifest.json").is_file():
            missing[name] = None
        elif name not in before:
            other = Run.read(folder)
            _collect(other, before, missing)
            before[name] = other


def _measuring(run: Run) -> Iterator[Run]:
    """Finished measurements of the run's model; one from before the model was trained further is not of this model."""
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
    """When it finished, ISO 8601 in UTC; "" for none."""
    return str(run.manifest.get("finished") or "") if run is not None else ""
