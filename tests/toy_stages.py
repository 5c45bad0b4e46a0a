"""Stage kinds for tests of the pipeline: they count and wait, and learn nothing.

`grow` adds a line per step to a file and can be stopped half-way, `ask` waits for a file of answers, `read` reads.
"""

from __future__ import annotations

import os
import signal
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from preflab.errors import PreflabError
from preflab.settings.base import Settings, StageSettings, setting
from preflab.settings.learning import RunSettings
from preflab.stages.base import StageContext, StageResult

Writer = Callable[[str], Path]


class Nested(Settings):
    """A section."""

    width: float = setting(1.0, "A number.", "choice", gt=0)
    model: str | None = setting(None, "A model.", "choice", refers="model")


class GrowSettings(StageSettings):
    """Stage `grow`: one line per step."""

    makes: ClassVar[str] = "model"
    kind: Literal["grow"] = "grow"
    model: str | None = setting(None, "The start.", "choice", refers="model")
    judgments: str | None = setting(None, "Judgments.", "choice", refers="judgments")
    data: str | None = setting(None, "Data.", "choice", refers="data")
    function: str | None = setting(None, "A function.", "choice", refers="function")
    panel: str | None = setting(None, "A panel.", "choice", refers="labelers")
    num_steps: int = setting(3, "Steps.", "choice", ge=1)
    size: int = setting(1, "A size.", "choice", ge=1)
    ways: tuple[str, ...] = setting((), "Ways.", "choice")
    parts: tuple[Nested, ...] = setting((), "Parts.", "choice")
    nested: Nested | None = setting(None, "A section or nothing.", "choice")
    flag: bool = setting(False, "A switch.", "choice")
    mode: Literal["fast", "slow"] = setting("fast", "A choice.", "choice")
    run: RunSettings = setting(RunSettings(), "Logs.", "choice")


class SampleToySettings(StageSettings):
    """Stage `write`: completions."""

    makes: ClassVar[str] = "completions"
    kind: Literal["write"] = "write"
    model: str = setting(..., "A model.", "required", refers="model")


class AskSettings(StageSettings):
    """Stage `ask`: done when there are answers."""

    makes: ClassVar[str] = "judgments"
    kind: Literal["ask"] = "ask"
    completions: str | None = setting(None, "Completions.", "choice", refers="completions")


class ReadSettings(StageSettings):
    """Stage `read`: names what it was given."""

    kind: Literal["read"] = "read"
    of: tuple[str, ...] = setting(..., "Stages.", "required", refers="stage")


def grow(ctx: StageContext) -> StageResult:
    """Goes on from the lines that are there; `stop-at` beside the recipe holds the step to fall over at, and how."""
    lines, stop = ctx.folder / "lines.txt", ctx.recipe.folder / "stop-at"
    at, how = stop.read_text(encoding="utf-8").split() if stop.exists() else ("-1", "")
    with ctx.progress(ctx.name, total=ctx.settings.num_steps) as bar:
        for step in range(num_lines(lines), ctx.settings.num_steps):
            if step == int(at):
                _fall(how)
            with lines.open("a", encoding="utf-8") as file:
                file.write(f"{step} of {ctx.settings.num_steps}, before: {ctx.num_done}\n")
            bar.advance(1, size=ctx.settings.size)
    return StageResult(f"{num_lines(lines)} lines", {"lines": num_lines(lines)})


def _fall(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise {"error": RuntimeError("fell over"), "interrupt": KeyboardInterrupt(), "refuse": PreflabError("a", "b", "c")}[
        how
    ]


def num_lines(path: Path) -> int:
    """Lines in a file; 0 when there is none."""
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def ask(ctx: StageContext) -> StageResult:
    """Waits for the file `answers`."""
    if (ctx.recipe.folder / "answers").exists():
        return StageResult("3 judgments")
    return StageResult("", waiting="1 of 3 tasks have labels", link="http://127.0.0.1:8400/c/helpful")


def read(ctx: StageContext) -> StageResult:
    """Says what it was given."""
    return StageResult(f"read {' '.join(ctx.inputs)}; upstream {' '.join(ctx.upstream)}")


def write(ctx: StageContext) -> StageResult:
    """Says whose model it reads."""
    return StageResult(f"from {ctx.model_folder(ctx.settings.model)}")


TOYS: dict[str, tuple[type[StageSettings], Any, tuple[str, ...]]] = {
    "grow": (GrowSettings, grow, ("num_steps",)),
    "write": (SampleToySettings, write, ()),
    "ask": (AskSettings, ask, ()),
    "read": (ReadSettings, read, ()),
}


def register(set_item: Any, modules: dict[str, Any], settings: dict[str, Any], places: dict[str, str]) -> None:
    """Adds the toy kinds; `set_item` is monkeypatch.setitem, or dict.__setitem__ in a process of its own."""
    for kind, (model, function, resumable) in TOYS.items():
        module = types.ModuleType(f"toy_stage_{kind}")
        vars(module).update(VERSION=1, resumable=resumable, needs_torch=False, run=function)
        set_item(modules, module.__name__, module)
        set_item(settings, kind, model)
        set_item(places, kind, module.__name__)
